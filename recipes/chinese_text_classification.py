"""Trains a classifier on a table of Chinese texts, and writes all there is to know about it.

    python recipes/chinese_text_classification.py --train reviews.csv --output-dir runs/reviews
    python recipes/chinese_text_classification.py --model bert --pretrained hfl/chinese-macbert-base

Without --train it takes the small review set that ships with kerasllm; without --valid it splits
the rows. Early stopping goes by macro-F1 on the validation rows. A run that was killed goes on with
the same command and --resume. The output folder then holds

    model.keras, text_pipeline.json, vocabulary.txt   for recipes/predict.py (bert: vocab.txt)
    metrics.json            accuracy, macro-F1 and figures for each class
    confusion_matrix.png    of the test rows, or of the validation rows where there are none
    learning_curves.png
    errors.csv              what the model gets wrong, the surest mistakes first
    tensorboard/            tensorboard --logdir FOLDER/tensorboard
    saved_model/            with --export: takes raw texts; for recipes/serve_text_model.py
"""

import argparse
import math
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from kerasllm import TextClassifier
from kerasllm.command_line import count, positive
from kerasllm.data import class_weights, make_batches, read_parts
from kerasllm.datasets import reviews
from kerasllm.evaluation import (
    evaluate_classifier,
    format_report,
    plot_learning_curves,
    require_matplotlib,
)
from kerasllm.export import require_native_library
from kerasllm.metrics import MacroF1
from kerasllm.models import load_tokenizer
from kerasllm.models.presets import (
    CLASSIFIER_PRESETS,
    PRETRAINED_PRESETS,
    classifier_preset,
    default_epochs,
    default_patience,
    make_classifier,
    make_schedule,
)
from kerasllm.models.pretrained import find_folder
from kerasllm.optimizers import Adam
from kerasllm.text import (
    CharTokenizer,
    JiebaTokenizer,
    TextCleaner,
    TextPipeline,
    WordPiecePipeline,
    load_pipeline,
)
from kerasllm.training import KeepBest, TensorBoard, open_run_folder
from kerasllm.training.tensorboard import (
    EmbeddingProjector,
    HParams,
    Validation,
    default_parts,
)

# What TensorBoard's table of hyperparameters shows.
HPARAMS = (
    *("model", "pretrained", "tokenizer", "vocabulary_size", "min_frequency", "max_length"),
    *("batch_size", "learning_rate", "dropout", "class_weights", "dtype_policy", "epochs", "seed"),
)
# What may differ between a run and its resumption.
NOT_SETTINGS = ("output_dir", "resume", "export")
TOKENIZERS = {"jieba": lambda: JiebaTokenizer(), "char": lambda: CharTokenizer()}


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", help="table of texts and labels: CSV, TSV, JSON Lines, XLSX, .gz, or a folder")
    add("--valid", help="the same; split off the training rows by default")
    add("--test", help="the same; judged once, at the end")
    add("--text-column", default="text", help="its name, or its position from 0 (default: text)")
    add("--label-column", default="label", help="the same (default: label)")
    add("--encoding", help="of the tables; recognised by default")
    models = CLASSIFIER_PRESETS | PRETRAINED_PRESETS
    add("--model", choices=sorted(models), default="embedding_lstm")
    add("--pretrained", help="folder, or name on the Hugging Face Hub, of the weights of bert")
    add("--tokenizer", choices=sorted(TOKENIZERS), default="jieba", help="not of bert")
    add("--vocabulary-size", type=count, default=50_000, help="largest (default: 50000)")
    add("--min-frequency", type=count, default=2, help="rarer words are spelled (default: 2)")
    add("--max-length", type=count, default=256, help="tokens; the rest is cut (default: 256)")
    add("--epochs", type=count, help="at most (default: 5 to 20, fewer for more rows; bert: 3)")
    add("--patience", type=count, help="epochs without improvement (default: half, 5 at least)")
    add("--batch-size", type=count, help="(default: 128; bert: 32)")
    add("--learning-rate", type=positive, help="falls to 0 by a cosine (default: the model's)")
    add("--dropout", type=float, help="(default: the model's)")
    add("--class-weights", choices=["none", "balanced"], default="none")
    add("--dtype-policy", choices=["float32", "mixed_bfloat16"], default="float32")
    add("--seed", type=int, default=0)
    add("--output-dir", default="runs/classification")
    add("--export", action="store_true", help="write saved_model/, which takes raw texts, too")
    add("--resume", action="store_true", help="go on with the run in --output-dir")
    return parser.parse_args(arguments)


def find_tables(arguments):
    """dict of part to the path of its table."""
    paths = {part: getattr(arguments, part) for part in ("train", "valid", "test")}
    if arguments.train is not None:
        return paths
    if arguments.valid or arguments.test:
        raise ValueError("--valid and --test need --train: without it all rows are built in.")
    return reviews()


def make_pipeline(arguments, folder, train, resuming):
    if resuming and (folder / "text_pipeline.json").is_file():
        return load_pipeline(folder)
    labels = sorted(set(train["label"]))
    if arguments.pretrained:
        tokenizer = load_tokenizer(arguments.pretrained)
        pipeline = WordPiecePipeline(tokenizer, labels, arguments.max_length)
    else:
        pipeline = TextPipeline.fit(
            train["text"].tolist(),
            cleaner=TextCleaner(),
            tokenizer=TOKENIZERS[arguments.tokenizer](),
            max_size=arguments.vocabulary_size,
            min_frequency=arguments.min_frequency,
            spell_unknown=True,
            labels=labels,
            max_length=arguments.max_length,
        )
    pipeline.save(folder)
    return pipeline


def build_model(arguments, pipeline, train_steps):
    num_classes = len(pipeline.labels)
    model = make_classifier(
        arguments.model,
        len(pipeline.vocabulary),
        num_classes,
        dropout=arguments.dropout,
        dtype=arguments.dtype_policy,
        pretrained=arguments.pretrained,
    )
    model.compile(
        optimizer=Adam(make_schedule(arguments.model, train_steps, arguments.learning_rate)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", MacroF1(num_classes)],
    )
    return model


def make_board(arguments, folder, pipeline, valid, valid_batches, history):
    """TensorBoard, with the best epoch's figures, what validation shows, and the words' vectors."""
    hparams = {name: getattr(arguments, name) for name in HPARAMS}
    parts = [
        *default_parts(),
        HParams(hparams, "val_macro_f1", history=history),
        Validation(valid_batches, pipeline.labels, texts=valid["text"].tolist()),
        EmbeddingProjector(pipeline.vocabulary.tokens),
    ]
    return TensorBoard(folder / "tensorboard", parts, histogram_freq=1)


def train_model(arguments, folder, pipeline, parts):
    """Trains until macro-F1 stops rising or the epochs are over; returns the best model."""
    keep = KeepBest(folder / "checkpoints", "val_macro_f1", patience=arguments.patience)
    train_steps = arguments.epochs * math.ceil(len(parts["train"]) / arguments.batch_size)
    model, initial_epoch = keep.resume() or (build_model(arguments, pipeline, train_steps), 0)

    def batches(rows, **options):
        ids, labels = pipeline.encode(rows["text"].tolist()), pipeline.label_ids(rows["label"])
        return make_batches(ids, labels, batch_size=arguments.batch_size, **options)

    if initial_epoch < arguments.epochs and not keep.finished:
        weights = None
        if arguments.class_weights == "balanced":
            train_labels = pipeline.label_ids(parts["train"]["label"])
            weights = class_weights(train_labels, len(pipeline.labels))
        valid = batches(parts["valid"])
        board = make_board(arguments, folder, pipeline, parts["valid"], valid, keep.history)
        model.fit(
            batches(parts["train"], shuffle=True, seed=arguments.seed, first_epoch=initial_epoch),
            validation_data=valid,
            shuffle=False,  # make_batches does it
            epochs=arguments.epochs,
            initial_epoch=initial_epoch,
            class_weight=weights,
            callbacks=[keep, board],
        )
    plot_learning_curves(folder / "learning_curves.png", keep.history)
    return keep.best_model()


def print_samples(classifier, rows, count=10):
    rows = rows.iloc[:: max(1, len(rows) // count)][:count]
    print("\nsample predictions")
    for text, truth, (label, probability) in zip(
        rows["text"], rows["label"], classifier.predict(rows["text"].tolist()), strict=True
    ):
        mark = "right" if label == truth else f"wrong, it is {truth}"
        print(f"  {probability:6.1%}  {label} ({mark}): {' '.join(text.split())[:40]}")


def main(arguments=None):
    arguments = parse_arguments(arguments)
    require_matplotlib()
    if arguments.export:
        require_native_library()
    keras.utils.set_random_seed(arguments.seed)
    if (arguments.model in PRETRAINED_PRESETS) != bool(arguments.pretrained):
        raise ValueError("--model bert and --pretrained FOLDER belong together.")
    if arguments.pretrained and not arguments.resume:
        find_folder(arguments.pretrained)  # downloaded, or refused, before anything is written
    columns = arguments.text_column, arguments.label_column
    parts = read_parts(find_tables(arguments), *columns, arguments.encoding, arguments.seed)
    preset = classifier_preset(arguments.model)
    if arguments.batch_size is None:
        arguments.batch_size = preset.get("batch_size", 128)
    if arguments.learning_rate is None:
        arguments.learning_rate = preset["learning_rate"]
    if arguments.dropout is None:
        arguments.dropout = preset["arguments"]["dropout"]
    if arguments.epochs is None:
        epochs = default_epochs(len(parts["train"]), arguments.batch_size)
        arguments.epochs = preset.get("epochs", epochs)
    if arguments.patience is None:
        arguments.patience = default_patience(arguments.epochs)
    settings = {k: v for k, v in vars(arguments).items() if k not in NOT_SETTINGS}
    folder, resuming = open_run_folder(
        arguments.output_dir, settings, arguments.resume, ("patience",), begun="checkpoints/*"
    )
    pipeline = make_pipeline(arguments, folder, parts["train"], resuming)
    unknown = pipeline.unknown_rate(parts["valid"]["text"].tolist())
    print(f"vocabulary: {len(pipeline.vocabulary)} tokens; unknown in validation: {unknown:.1%}")

    classifier = TextClassifier(train_model(arguments, folder, pipeline, parts), pipeline)
    classifier.save(folder)
    if arguments.export:
        classifier.export(folder / "saved_model")
    judged = {part: parts[part] for part in ("valid", "test") if part in parts}
    reports = evaluate_classifier(classifier, judged, folder)
    print("\n" + format_report(reports))
    print_samples(classifier, list(judged.values())[-1])
    print(f"\nmodel, figures and pictures: {folder}\ntensorboard --logdir {folder / 'tensorboard'}")
    return reports


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
