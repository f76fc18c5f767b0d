"""Measures language models on texts, and against the floor of n-grams.

    python recipes/evaluate_lm.py --model-dir runs/lm runs/lstm --input test.txt \
        --corpus train.txt --ngram-order 3

It prints a table of perplexity, nats and bits per character, each by a sliding window over the
files, and with --output writes it as JSON. With --corpus, a table row is that of an n-gram model
with Kneser-Ney smoothing of the corpus, on the tokens of the first model: what counting alone
gives.
"""

import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from kerasllm.data import Corpus, LanguageModelEncoder, tokenize_corpus
from kerasllm.data.corpus import DOCUMENTS
from kerasllm.evaluation import evaluate_language_model, format_language_models
from kerasllm.files import atomic_write
from kerasllm.models import NgramLM
from kerasllm.models.loading import load_model
from kerasllm.text import BPETokenizer, CharVocabularyTokenizer


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model-dir", nargs="+", required=True, help="folders of recipes/pretrain_lm.py")
    add("--input", nargs="+", required=True, help="files and folders to measure on")
    add("--documents", choices=DOCUMENTS, default="auto", help="as in training (default: auto)")
    add("--window", type=int, help="tokens seen at once (default: the model's, 256 at most)")
    add("--stride", type=int, help="tokens by which the window moves on (default: half of it)")
    add("--corpus", nargs="+", help="files and folders of the n-gram model")
    add("--ngram-order", type=int, default=3, help="length of the longest n-grams (default: 3)")
    add("--output", help="a JSON file of the table")
    return parser.parse_args(arguments)


def load_tokenizer(folder):
    kind = CharVocabularyTokenizer if (folder / "char_tokenizer.json").is_file() else BPETokenizer
    return kind.load(folder)


def fit_ngrams(arguments, tokenizer):
    """The n-gram model of the corpus."""
    corpus = Corpus(arguments.corpus, documents=arguments.documents)
    cache = tokenize_corpus(corpus, LanguageModelEncoder(tokenizer))
    # Without the end token before each document, which the n-gram model puts there itself.
    starts, ends = cache.document_starts[:-1] + 1, cache.document_starts[1:]
    documents = [cache.token_ids[begin:end] for begin, end in zip(starts, ends, strict=True)]
    order, end_id = arguments.ngram_order, tokenizer.end_id
    return NgramLM.fit(documents, len(tokenizer), order=order, end_id=end_id)


def main(arguments=None):
    arguments = parse_arguments(arguments)
    reports = {}
    for number, folder in enumerate(map(pathlib.Path, arguments.model_dir)):
        tokenizer, model = load_tokenizer(folder), load_model(folder / "model.keras")
        corpus = Corpus(arguments.input, documents=arguments.documents, deduplicate=False)
        cache = tokenize_corpus(corpus, LanguageModelEncoder(tokenizer))
        window = arguments.window or min(256, getattr(model, "max_length", 256))
        if number == 0 and arguments.corpus:
            # A history is short: whole windows cost nothing and cut nothing.
            ngrams = fit_ngrams(arguments, tokenizer)
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
