"""Pretrains a BERT on your texts by guessing masked words, in the time that you give it.

    python recipes/pretrain_bert.py --corpus news.csv --preset mini --budget 20m \
        --output-dir runs/bert

It starts from nothing, with a WordPiece vocabulary of the corpus, or from the weights and the
vocabulary of --pretrained FOLDER, to make a model that exists know your domain. Whole words are
masked, as jieba finds them, others in every epoch; documents are packed into rows without padding,
and only what is masked goes through the vocabulary. Number of steps, batch and learning rate follow
from the budget and the measured speed of this machine, and end with the budget. A run that was
killed goes on with the same command and --resume, with the losses that it would have had; SIGTERM
saves and ends. The output folder then holds

    config.json, model.safetensors, vocab.txt, ...   what BertClassifier.from_pretrained loads, and
                            transformers too
    metrics.json            masked accuracy, loss, tokens/s, share of the machine's peak arithmetic
    steps.csv               loss, gradient norm and masked accuracy of every step
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
import types

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from kerasllm.command_line import add_corpus_arguments, count, positive, rate
from kerasllm.data import (
    Corpus,
    MaskedLanguageModelEncoder,
    MaskedLanguageModelRows,
    open_token_cache,
)
from kerasllm.data.corpus import DOCUMENTS
from kerasllm.evaluation import evaluate_masked_language_model
from kerasllm.files import atomic_write
from kerasllm.models import BERT_PRESETS, BertBackbone, BertMaskedLM, load_tokenizer
from kerasllm.models.pretrained import find_folder, read_config
from kerasllm.text import TextCleaner, WordPieceTokenizer, train_wordpiece_vocabulary
from kerasllm.training import open_run_folder
from kerasllm.training.duration import parse_duration
from kerasllm.training.pretraining import (
    BEGUN,
    PLAN_FILE,
    PretrainingRun,
    TrainingStopped,
    matrix_weights,
    training_flops_per_token,
)


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--corpus", nargs="+", required=True, help="files and folders to learn from")
    add("--valid", nargs="+", help="files and folders to measure on (default: none)")
    add("--documents", choices=DOCUMENTS, default="auto", help="what a document of a text file is")
    add_corpus_arguments(parser)
    add("--preset", choices=sorted(BERT_PRESETS), default="mini", help="(default: mini)")
    add("--pretrained", help="folder of a model to go on with, in place of a preset")
    add("--vocabulary", help="a vocab.txt to take (default: one is learned on the corpus)")
    add("--vocabulary-size", type=count, help="(default: by the corpus's size, at most 21128)")
    add("--max-length", type=count, default=512, help="positions of the model (default: 512)")
    add("--budget", default="10m", help="time for all of it, such as 90s, 10m, 24h (default: 10m)")
    add("--steps", type=count, help="so many steps in place of a budget")
    add("--length", type=count, help="tokens of a row (default: by the documents' length)")
    add("--batch-size", type=count, help="rows (default: by the budget)")
    add("--learning-rate", type=positive, help="(default: by the size; 1e-4 with --pretrained)")
    add("--masked-share", type=rate, default=0.25, help="of the tokens (default: 0.25)")
    add("--dtype-policy", choices=["float32", "mixed_bfloat16"], default="mixed_bfloat16")
    add("--checkpoint-seconds", type=float, help="between checkpoints (default: by the budget)")
    add("--seed", type=int, default=0)
    add("--output-dir", default="runs/bert")
    add("--resume", action="store_true", help="go on with the run in --output-dir")
    return parser.parse_args(arguments)


def make_tokenizer(arguments, folder, corpus, resuming):
    """The tokenizer of the pretrained folder, of the run that goes on, or one for the corpus."""
    if arguments.pretrained:
        return load_tokenizer(arguments.pretrained)
    if arguments.vocabulary:
        return WordPieceTokenizer(arguments.vocabulary)
    path = folder / "vocab.txt"
    if not (resuming and path.is_file()):
        size = arguments.vocabulary_size
        if size is None:
            size = min(21_128, max(1_000, sum(map(len, corpus)) // 100))
        train_wordpiece_vocabulary(corpus, size, path)
    return WordPieceTokenizer(path)


def open_caches(arguments, folder, resuming):
    """The tokenizer, and the tokens of the corpus and, if there are any, the validation files."""
    cleaner = TextCleaner()
    options = {
        "documents": arguments.documents,
        "text": arguments.text_field or "text",
        "encoding": arguments.encoding,
        "cleaner": cleaner,
    }
    corpora = {"train": Corpus(arguments.corpus, **options)}
    if arguments.valid:
        corpora["valid"] = Corpus(arguments.valid, **options)
    tokenizer = make_tokenizer(arguments, folder, corpora["train"], resuming)
    encoder = MaskedLanguageModelEncoder(tokenizer, arguments.max_length)
    caches = {}
    for part, corpus in corpora.items():
        cache = caches[part] = open_token_cache(folder / "cache" / part, corpus, encoder)
        made = f" (tokenised anew: {cache.rebuilt})" if cache.rebuilt else ""
        print(f"{part}: {cache.report}, {len(cache):,} tokens{made}")
    print(f"vocabulary: {len(tokenizer):,} tokens")
    return tokenizer, caches


def make_model(arguments, vocabulary_size):
    if arguments.pretrained:
        return BertMaskedLM.from_pretrained(
            arguments.pretrained, missing="new", surplus="ignore", dtype=arguments.dtype_policy
        )
    backbone = BertBackbone.from_preset(
        arguments.preset,
        vocabulary_size=vocabulary_size,
        max_length=arguments.max_length,
        pooler_activation=None,  # a classifier gets a new one
        dtype=arguments.dtype_policy,
    )
    return BertMaskedLM(backbone)


def count_flops(model, length, masked_share):
    """The arithmetic of training on a token; the layers before the vocabulary see masked ones."""
    backbone = model.backbone
    head = model.transform_dense.kernel.shape[0] * model.transform_dense.kernel.shape[1]
    vocabulary = backbone.vocabulary_size * backbone.embedding_dim
    blocks = matrix_weights(model) - head
    if backbone.share_blocks:
        blocks *= backbone.num_layers
    return training_flops_per_token(
        blocks,
        vocabulary_weights=vocabulary + head,
        predicted_share=masked_share,
        attention_layers=backbone.num_layers,
        attention_dim=backbone.hidden_dim,
        keys_per_query=length,
    )


def choose_shape(arguments, run, cache, hidden_dim):
    """Tokens of a row, rows of a batch and learning rate, as in the folder's plan or by rule."""
    if "shape" not in run.decided:
        mean_document = len(cache) / cache.documents
        length = arguments.length or 2 ** round(math.log2(min(512, max(64, 4 * mean_document))))
        length = min(length, arguments.max_length)
        minutes = (run.budget_seconds or 600) / 60
        # 2,048 tokens in a minute's training, 16,384 in a day's.
        tokens = 2048 * max(1.0, minutes) ** 0.4
        run.decided["shape"] = {
            "length": length,
            "batch_size": arguments.batch_size or max(1, 2 ** round(math.log2(tokens / length))),
            "learning_rate": arguments.learning_rate
            or (1e-4 if arguments.pretrained else 0.128 / hidden_dim),
        }
    return types.SimpleNamespace(**run.decided["shape"])


def train_model(arguments, run, tokenizer, caches):
    """Trains to the end of the plan; returns the model, and what validates it, and its figures."""
    steps = run.build(
        lambda: make_model(arguments, len(tokenizer)), weight_decay=0.01, ignored_label=-100
    )
    model, train = steps.model, caches["train"]
    backbone = model.backbone
    shape = choose_shape(arguments, run, train, backbone.hidden_dim)
    rows = MaskedLanguageModelRows(
        train, tokenizer, shape.length, arguments.seed, arguments.masked_share
    )
    flops = count_flops(model, shape.length, rows.num_predictions / shape.length)
    print(
        f"BERT: {backbone.num_layers} layers of width {backbone.hidden_dim}, "
        f"{model.count_params():,} weights; batches of {shape.batch_size} x {shape.length} tokens, "
        f"learning rate {shape.learning_rate:.2g}"
    )
    # Normalisation after the sum, as BERT has it, needs a long warm-up.
    run.plan(steps, rows, shape, flops, warmup_share=0.1, ramp=())
    validate = None
    if "valid" in caches:
        valid = MaskedLanguageModelRows(caches["valid"], tokenizer, shape.length, seed=1)

        def validate(count=64):
            return evaluate_masked_language_model(model, valid, count)["nats_per_masked_token"]

    trainer = run.trainer(
        steps,
        rows,
        tokens_per_row=shape.length,
        validate=validate,
        checkpoint_seconds=arguments.checkpoint_seconds,
    )
    trained = trainer.run()
    report = {}
    if "valid" in caches:
        report["valid"] = evaluate_masked_language_model(model, valid, valid.packed.rows_per_epoch)
    return model, {**report, **trained}


def main(arguments=None):
    arguments = parse_arguments(arguments)
    budget = parse_duration(arguments.budget) if arguments.steps is None else None
    settings = {k: v for k, v in vars(arguments).items() if k not in ("output_dir", "resume")}
    folder, resuming = open_run_folder(
        arguments.output_dir, settings, arguments.resume, ("checkpoint_seconds",), begun=BEGUN
    )
    if not resuming:  # the plan of a run that was refused before it learned anything
        (folder / PLAN_FILE).unlink(missing_ok=True)
    run = PretrainingRun(folder, budget, arguments.steps, arguments.dtype_policy, arguments.seed)
    if arguments.pretrained:
        config = read_config(find_folder(arguments.pretrained))
        known = config.get("max_position_embeddings", arguments.max_length)
        arguments.max_length = min(arguments.max_length, known)
    tokenizer, caches = open_caches(arguments, folder, resuming)
    run.check_corpus(caches["train"])
    model, metrics = train_model(arguments, run, tokenizer, caches)
    model.save_pretrained(folder, tokenizer)
    with atomic_write(folder / "metrics.json") as file:
        json.dump(metrics, file, indent=1)
    print(
        f"\nmasked accuracy {metrics['accuracy']:.4f}, loss {metrics['loss']:.4f} (training)"
        + "".join(f"\nvalidation: {name} {value:.4f}" for name, value in _valid(metrics))
        + f"\n{metrics['tokens_per_second']:,.0f} tokens/s, {metrics['share_of_peak']:.0%} of peak,"
        f" {metrics['seconds']:,.0f} s of training\nmodel, figures and logs: {folder}"
    )
    return metrics


def _valid(metrics):
    values = metrics.get("valid", {}).items()
    return [(name, value) for name, value in values if np.isscalar(value)]


if __name__ == "__main__":
    try:
        main()
    except TrainingStopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signal_number)
    except (OSError, ValueError, ImportError, FloatingPointError, MemoryError) as error:
        sys.exit(f"error: {error}")
