"""Trains a language model from nothing, on your texts, in the time that you give it.

    python recipes/pretrain_lm.py --corpus train.txt --valid valid.txt --budget 10m \
        --output-dir runs/lm

From the budget and the measured speed of this machine it chooses the size of the model, the batch
and the number of steps, and ends with the budget; --hidden-dim, --learning-rate and the like take
it by hand. It prints tokens per second, the share of the machine's measured peak arithmetic, loss,
bits per character and the time left. A run that was killed goes on with the same command and
--resume, with the losses that it would have had; SIGTERM saves and ends. The output folder then
holds

    model.keras             the language model, and beside it the files of its tokenizer
    metrics.json            nats by token and character, perplexity, tokens/s, share of peak
    steps.csv               loss and gradient norm of every step
    plan.json, checkpoints/, cache/   what a resumed run goes on with
    tensorboard/            tensorboard --logdir FOLDER/tensorboard

Files may be text, JSON Lines with a field "text", CSV with a column "text", gzip of these, and
folders of them; kerasllm.data.Corpus says what a document is.
"""

import argparse
import json
import math
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from kerasllm.command_line import add_corpus_arguments, count, positive, rate
from kerasllm.data import Corpus, LanguageModelEncoder, LanguageModelRows, open_token_cache
from kerasllm.data.corpus import DOCUMENTS
from kerasllm.evaluation import evaluate_language_model
from kerasllm.files import atomic_write, replace_file
from kerasllm.text import BPETokenizer, CharVocabularyTokenizer, TextCleaner
from kerasllm.text.text_pieces import text_pieces
from kerasllm.training import open_run_folder
from kerasllm.training.duration import parse_duration
from kerasllm.training.pretraining import BEGUN, PLAN_FILE, PretrainingRun, TrainingStopped
from kerasllm.training.pretraining.language_models import (
    MODELS,
    LanguageModelShape,
    choose_language_model,
)
from kerasllm.training.pretraining.memory import fit_batch_into_memory

TOKENIZER_FILES = (
    "char_tokenizer.json",
    "vocabulary.txt",
    "tokenizer.json",
    "tokenizer_config.json",
)
SHAPE_OPTIONS = ("hidden_dim", "num_layers", "length", "batch_size", "learning_rate", "dropout")


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--corpus", nargs="+", required=True, help="files and folders to learn from")
    add("--valid", nargs="+", required=True, help="files and folders to measure on")
    add("--documents", choices=DOCUMENTS, default="auto", help="what a document of a text file is")
    add(
        "--clean", action="store_true", help="remove markup, full-width forms, invisible characters"
    )
    add_corpus_arguments(parser)
    add("--model", choices=MODELS, default="modern")
    add("--tokenizer", choices=["char", "bpe"], default="char")
    add("--vocabulary-size", type=count, help="(default: all characters; bpe: by corpus size)")
    add("--budget", default="10m", help="time for all of it, such as 90s, 10m, 24h (default: 10m)")
    add("--steps", type=count, help="so many steps in place of a budget; give the shape too")
    for name in SHAPE_OPTIONS:
        kind = {"learning_rate": positive, "dropout": rate}.get(name, count)
        add(f"--{name.replace('_', '-')}", type=kind, help="(default: chosen)")
    add("--dtype-policy", choices=["float32", "mixed_bfloat16"], default="mixed_bfloat16")
    add("--checkpoint-seconds", type=float, help="between checkpoints (default: by the budget)")
    add("--seed", type=int, default=0)
    add("--output-dir", default="runs/language_model")
    add("--resume", action="store_true", help="go on with the run in --output-dir")
    return parser.parse_args(arguments)


def make_tokenizer(arguments, folder, corpus):
    """The tokenizer of an earlier run in the folder, or one that is fitted to the corpus."""
    kind = {"char": CharVocabularyTokenizer, "bpe": BPETokenizer}[arguments.tokenizer]
    try:
        return kind.load(folder)
    except FileNotFoundError:
        pass
    if arguments.tokenizer == "char":
        tokenizer = CharVocabularyTokenizer.fit(corpus, arguments.vocabulary_size)
    else:
        size = arguments.vocabulary_size
        if size is None:
            # One for two hundred characters, so that each is met often enough.
            characters = corpus.report.characters or sum(map(len, corpus))
            size = min(32_000, max(512, characters // 200))
        pieces = (piece for document in corpus for piece in text_pieces(document))
        tokenizer = BPETokenizer.fit(pieces, size)
    tokenizer.save(folder)
    return tokenizer


def open_caches(arguments, folder):
    """The tokenizer, and the tokens of the corpus and of the validation files."""
    cleaner = TextCleaner() if arguments.clean else None
    options = {
        "documents": arguments.documents,
        "text": arguments.text_field or "text",
        "encoding": arguments.encoding,
        "cleaner": cleaner,
    }
    corpora = {
        "train": Corpus(arguments.corpus, **options),
        "valid": Corpus(arguments.valid, **options, deduplicate=False),
    }
    tokenizer = make_tokenizer(arguments, folder, corpora["train"])
    encoder, caches = LanguageModelEncoder(tokenizer), {}
    for part, corpus in corpora.items():
        cache = caches[part] = open_token_cache(folder / "cache" / part, corpus, encoder)
        made = f" (tokenised anew: {cache.rebuilt})" if cache.rebuilt else ""
        print(f"{part}: {cache.report}, {len(cache):,} tokens{made}")
    print(f"vocabulary: {len(tokenizer):,} tokens")
    return tokenizer, caches["train"], caches["valid"]


def choose_shape(arguments, run, vocabulary_size, cache):
    """The shape of an earlier run in the folder, or that which suits the budget."""
    if "shape" not in run.decided:
        flops = run.expected_flops()
        if flops is None:  # steps by hand: as if a short budget had been given
            flops = 1e13
        given = {name: getattr(arguments, name) for name in SHAPE_OPTIONS}
        shape = choose_language_model(arguments.model, vocabulary_size, cache, flops, **given)
        if arguments.batch_size is None:
            fit_batch_into_memory(shape, arguments.dtype_policy)
        run.decided["shape"] = vars(shape)
    return LanguageModelShape(**run.decided["shape"])


def train_model(arguments, run, tokenizer, train, valid):
    """Trains to the end of the plan; returns the model, its shape and the trainer's figures."""
    shape = choose_shape(arguments, run, len(tokenizer), train)
    steps = run.build(lambda: shape.build(arguments.dtype_policy))
    flops_per_token = shape.flops_per_token(steps.model)
    print(
        f"{arguments.model}: {shape.num_layers} layers of width {shape.hidden_dim}, "
        f"{steps.model.count_params():,} weights; batches of {shape.batch_size} x {shape.length} "
        f"tokens, learning rate {shape.learning_rate:.2g}, dropout {shape.dropout}"
    )
    rows = LanguageModelRows(train, shape.length, arguments.seed)
    run.plan(steps, rows, shape, flops_per_token, forward_tokens=2 * len(valid))

    # Each of the ten looks at the validation files takes about a thousandth of the time.
    rate = run.peak_flops * 0.4 / flops_per_token
    quick_tokens = int(0.003 * rate * (run.budget_seconds or 60)) + 1000

    def validate():
        report = evaluate_language_model(
            steps.model, valid, shape.length, batch_size=8, max_tokens=quick_tokens
        )
        return report["nats_per_token"]

    trainer = run.trainer(
        steps,
        rows,
        tokens_per_row=shape.length,
        bits_per_nat=len(train) / (train.characters + train.documents) / math.log(2),
        validate=validate,
        checkpoint_seconds=arguments.checkpoint_seconds,
    )
    return steps.model, shape, trainer.run()


def main(arguments=None):
    arguments = parse_arguments(arguments)
    budget = parse_duration(arguments.budget) if arguments.steps is None else None
    settings = {k: v for k, v in vars(arguments).items() if k not in ("output_dir", "resume")}
    folder, resuming = open_run_folder(
        arguments.output_dir, settings, arguments.resume, ("checkpoint_seconds",), begun=BEGUN
    )
    if not resuming:
        # What a run left that was refused before it learned anything.
        for name in (PLAN_FILE, *TOKENIZER_FILES):
            (folder / name).unlink(missing_ok=True)
    run = PretrainingRun(folder, budget, arguments.steps, arguments.dtype_policy, arguments.seed)
    tokenizer, train, valid = open_caches(arguments, folder)
    run.check_corpus(train)
    model, shape, trained = train_model(arguments, run, tokenizer, train, valid)

    with replace_file(folder / "model.keras") as temporary:
        model.save(temporary)
    report = evaluate_language_model(model, valid, shape.length)
    if hasattr(tokenizer, "unknown_id"):
        report["unknown_rate"] = float(np.mean(valid.token_ids == tokenizer.unknown_id))
    metrics = {"valid": report, **trained}
    with atomic_write(folder / "metrics.json") as file:
        json.dump(metrics, file, indent=1)
    print(
        f"\nvalidation: {report['nats_per_token']:.4f} nats per token, "
        f"{report['nats_per_character']:.4f} per character, "
        f"{report['bits_per_character']:.3f} bits per character, "
        f"perplexity {report['perplexity']:,.2f}\n"
        f"{trained['tokens_per_second']:,.0f} tokens/s, {trained['share_of_peak']:.0%} of peak, "
        f"{trained['seconds']:,.0f} s of training\nmodel, figures and logs: {folder}"
    )
    return metrics


if __name__ == "__main__":
    try:
        main()
    except TrainingStopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signal_number)
    except (OSError, ValueError, ImportError, FloatingPointError, MemoryError) as error:
        sys.exit(f"error: {error}")
