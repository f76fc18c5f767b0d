"""Measures language models on texts, and against the floor of n-grams.

    python recipes/evaluate_lm.py --model-dir runs/lm runs/lstm --input test.txt \
        --corpus train.txt --ngram-order 3

It prints a table of perplexity, nats and bits per character and byte, each by a sliding window over
the files, and with --output writes it as JSON. Folders are those of recipes/pretrain_lm.py, or of
Hugging Face (GPT-2, Llama, Qwen2, Qwen3). Texts are read, cleaned and cut into windows as in the
training of each model, so that its validation files give the figures of its metrics.json. With
--corpus, a table row is that of an n-gram model with Kneser-Ney smoothing of the corpus, on the
tokens of the first model: what counting alone gives.
"""

import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from kerasllm.command_line import add_corpus_arguments, count
from kerasllm.data import Corpus, LanguageModelEncoder, tokenize_corpus
from kerasllm.data.corpus import DOCUMENTS
from kerasllm.evaluation import evaluate_language_model, format_language_models
from kerasllm.files import atomic_write
from kerasllm.models import NgramLM
from kerasllm.models.language_model_folder import load_language_model
from kerasllm.text import TextCleaner


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model-dir", nargs="+", required=True, help="of pretrain_lm.py or Hugging Face")
    add("--input", nargs="+", required=True, help="files and folders to measure on")
    add("--documents", choices=DOCUMENTS, help="(default: as in training, else auto)")
    add(
        "--clean",
        action=argparse.BooleanOptionalAction,
        help="as --clean of pretrain_lm.py (default: as in training, else not)",
    )
    add_corpus_arguments(parser)
    add("--window", type=count, help="tokens seen at once (default: as many as in training)")
    add("--stride", type=count, help="tokens by which the window moves on (default: half of it)")
    add("--corpus", nargs="+", help="files and folders of the n-gram model")
    add("--ngram-order", type=count, default=3, help="length of the longest n-grams (default: 3)")
    add("--output", help="a JSON file of the table")
    return parser.parse_args(arguments)


def read_json(path):
    """What a file of a training run holds; {} of a folder that no such run wrote."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}


def corpus_options(arguments, folder):
    """How the model's training read texts, but for what the command line says."""
    trained = read_json(folder / "settings.json")
    options = {}
    for name in ("documents", "clean", "encoding", "text_field"):
        given = getattr(arguments, name)
        options[name] = trained.get(name) if given is None else given
    cleaner = TextCleaner() if options["clean"] else None
    return {
        "documents": options["documents"] or "auto",
        "text": options["text_field"] or "text",
        "encoding": options["encoding"],
        "cleaner": cleaner,
    }


def training_length(folder, model):
    """Tokens of a row in the model's training; at most 1024 where that is not known."""
    shape = read_json(folder / "plan.json").get("shape", {})
    return shape.get("length") or min(1024, getattr(model, "max_length", 256))


def fit_ngrams(arguments, tokenizer, options):
    """The n-gram model of the corpus."""
    cache = tokenize_corpus(Corpus(arguments.corpus, **options), LanguageModelEncoder(tokenizer))
    # Without the end token before each document, which the n-gram model puts there itself.
    starts, ends = cache.document_starts[:-1] + 1, cache.document_starts[1:]
    documents = [cache.token_ids[begin:end] for begin, end in zip(starts, ends, strict=True)]
    order, end_id = arguments.ngram_order, tokenizer.end_id
    return NgramLM.fit(documents, len(tokenizer), order=order, end_id=end_id)


def main(arguments=None):
    arguments = parse_arguments(arguments)
    reports = {}
    for number, folder in enumerate(map(pathlib.Path, arguments.model_dir)):
        model, tokenizer = load_language_model(folder)
        options = corpus_options(arguments, folder)
        corpus = Corpus(arguments.input, **options, deduplicate=False)
        cache = tokenize_corpus(corpus, LanguageModelEncoder(tokenizer))
        window = arguments.window or training_length(folder, model)
        if number == 0 and arguments.corpus:
            # A history is short: whole windows cost nothing and cut nothing.
            ngrams = fit_ngrams(arguments, tokenizer, options)
            reports[f"{arguments.ngram_order}-grams"] = evaluate_language_model(ngrams, cache)
        reports[str(folder)] = evaluate_language_model(model, cache, window, arguments.stride)
    print(format_language_models(reports))
    if arguments.output:
        with atomic_write(arguments.output) as file:
            json.dump(reports, file, indent=1)
    return reports


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
