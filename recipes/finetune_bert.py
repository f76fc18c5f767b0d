"""Fine-tunes a pretrained BERT on a table of texts: all of it, or a small part beside it.

    python recipes/finetune_bert.py --pretrained FOLDER --train reviews.csv --output-dir runs/bert
    python recipes/finetune_bert.py --pretrained FOLDER --train reviews.csv --peft lora \\
        --output-dir runs/lora

FOLDER is one that Hugging Face's transformers or the original BERT wrote, or a name on their hub.
Without --train it takes the small review set that ships with kerasllm; without --valid it splits
the rows. --peft none trains all weights by AdamW with warm-up and linear decay; lora, adalora,
adapter, prefix, prompt and bitfit leave the pretrained weights as they are and train at most a few
percent beside them. Early stopping goes by macro-F1 on the validation rows. A run that was killed
goes on with the same command and --resume. The output folder then holds

    model.keras, text_pipeline.json and its vocabulary   what recipes/predict.py loads
    adapter.weights.h5      with --peft: what was learned, to be put onto the same pretrained folder
    metrics.json            accuracy, macro-F1 and figures for each class
    confusion_matrix.png    of the test rows, or of the validation rows where there are none
    learning_curves.png
    errors.csv              what the model gets wrong, the surest mistakes first
    tensorboard/            tensorboard --logdir FOLDER/tensorboard
    checkpoints/            the last and the best epoch; may be deleted when the run is over
"""

import argparse
import math
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from kerasllm import TextClassifier
from kerasllm.command_line import count, positive
from kerasllm.data import make_batches, read_parts
from kerasllm.datasets import reviews
from kerasllm.evaluation import (
    evaluate_classifier,
    format_report,
    plot_learning_curves,
    require_matplotlib,
)
from kerasllm.models import BertClassifier, load_tokenizer
from kerasllm.text import WordPiecePipeline, load_pipeline
from kerasllm.training import KeepBest, TensorBoard, fine_tune, open_run_folder
from kerasllm.training.parameter_efficient import (
    METHODS,
    AdaptedModel,
    count_parameters,
    make_method,
    save_adapter,
)

LEARNING_RATE = 3e-5  # of all weights; the methods know their own


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--pretrained", required=True, help="folder, or name on the Hugging Face Hub")
    add("--train", help="table of texts and labels: CSV, TSV, JSON Lines, XLSX, .gz, or a folder")
    add("--valid", help="the same; split off the training rows by default")
    add("--test", help="the same; judged once, at the end")
    add("--text-column", default="text", help="its name, or its position from 0 (default: text)")
    add("--label-column", default="label", help="the same (default: label)")
    add("--encoding", help="of the tables; recognised by default")
    add("--train-rows", type=count, help="cut the training rows to about as many, stratified")
    add("--fresh-weights", action="store_true", help="only the folder's shape: what it is worth")
    add("--peft", choices=["none", *METHODS], default="none", help="what trains (default: all)")
    add("--max-length", type=count, default=128, help="tokens; the rest is cut (default: 128)")
    add("--epochs", type=count, default=3, help="at most (default: 3)")
    add("--patience", type=count, default=2, help="epochs without improvement (default: 2)")
    add("--batch-size", type=count, default=32)
    add("--learning-rate", type=positive, help="its peak (default: 3e-5, or the method's)")
    add("--layer-decay", type=float, help="of the learning rate from block to block (default: 1)")
    add("--dtype-policy", choices=["float32", "mixed_bfloat16"], default="float32")
    add("--seed", type=int, default=0)
    add("--output-dir", default="runs/finetune")
    add("--resume", action="store_true", help="go on with the run in --output-dir")
    return parser.parse_args(arguments)


def find_parts(arguments):
    """dict of "train", "valid" and, where there are test rows, "test" to a DataFrame."""
    paths = {part: getattr(arguments, part) for part in ("train", "valid", "test")}
    if arguments.train is None:
        if arguments.valid or arguments.test:
            raise ValueError("--valid and --test need --train: without it all rows are built in.")
        paths = reviews()
    return read_parts(
        paths,
        arguments.text_column,
        arguments.label_column,
        arguments.encoding,
        arguments.seed,
        with_test=False,
        train_rows=arguments.train_rows,
    )


def make_pipeline(arguments, folder, train, resuming):
    if resuming and (folder / "text_pipeline.json").is_file():
        return load_pipeline(folder)
    labels = sorted(set(train["label"]))
    tokenizer = load_tokenizer(arguments.pretrained)
    return WordPiecePipeline(tokenizer, labels, arguments.max_length)


def build_model(arguments, num_classes, train_steps):
    model = BertClassifier.from_pretrained(
        arguments.pretrained,
        num_classes=num_classes,
        missing="new",  # the classifier, where the folder has none
        surplus="ignore",  # what it was pretrained with
        dtype=arguments.dtype_policy,
    )
    if arguments.max_length > model.backbone.max_length:
        raise ValueError(
            f"--max-length is {arguments.max_length}, but this BERT has positions for "
            f"{model.backbone.max_length} tokens."
        )
    if arguments.fresh_weights:
        model = BertClassifier.from_config(model.get_config())
    if arguments.peft != "none":
        model = AdaptedModel(model, make_method(arguments.peft))
    return fine_tune.compile_model(
        model,
        train_steps,
        learning_rate=arguments.learning_rate,
        layer_decay=arguments.layer_decay,
    )


def train_model(arguments, folder, pipeline, parts):
    """Trains until macro-F1 stops rising or the epochs are over; returns the best model."""
    keep = KeepBest(folder / "checkpoints", "val_macro_f1", patience=arguments.patience)
    train_steps = arguments.epochs * math.ceil(len(parts["train"]) / arguments.batch_size)
    model, initial_epoch = keep.resume() or (
        build_model(arguments, len(pipeline.labels), train_steps),
        0,
    )
    print(count_parameters(model))

    def batches(rows, **options):
        ids, labels = pipeline.encode(rows["text"].tolist()), pipeline.label_ids(rows["label"])
        return make_batches(ids, labels, batch_size=arguments.batch_size, **options)

    if initial_epoch < arguments.epochs and not keep.finished:
        own = model.make_callbacks(train_steps) if isinstance(model, AdaptedModel) else []
        model.fit(
            batches(parts["train"], shuffle=True, seed=arguments.seed, first_epoch=initial_epoch),
            validation_data=batches(parts["valid"]),
            shuffle=False,  # make_batches does it
            epochs=arguments.epochs,
            initial_epoch=initial_epoch,
            callbacks=[*own, keep, TensorBoard(folder / "tensorboard")],
        )
    plot_learning_curves(folder / "learning_curves.png", keep.history)
    return keep.best_model()


def main(arguments=None):
    arguments = parse_arguments(arguments)
    require_matplotlib()
    keras.utils.set_random_seed(arguments.seed)
    parts = find_parts(arguments)
    if arguments.learning_rate is None:
        method = METHODS.get(arguments.peft)
        arguments.learning_rate = method.learning_rate if method else LEARNING_RATE
    settings = {k: v for k, v in vars(arguments).items() if k not in ("output_dir", "resume")}
    folder, resuming = open_run_folder(
        arguments.output_dir, settings, arguments.resume, ("patience",), begun="checkpoints/*"
    )
    pipeline = make_pipeline(arguments, folder, parts["train"], resuming)
    pipeline.save(folder)
    unknown = pipeline.unknown_rate(parts["valid"]["text"].tolist())
    print(f"vocabulary: {len(pipeline.vocabulary)} tokens; unknown in validation: {unknown:.1%}")

    model = train_model(arguments, folder, pipeline, parts)
    if isinstance(model, AdaptedModel):
        save_adapter(model, folder / "adapter.weights.h5")
        if model.merges:
            model = model.merge()
    classifier = TextClassifier(model, pipeline)
    classifier.save(folder)
    judged = {part: parts[part] for part in ("valid", "test") if part in parts}
    reports = evaluate_classifier(classifier, judged, folder)
    print("\n" + format_report(reports))
    print(f"\nmodel, figures and pictures: {folder}\ntensorboard --logdir {folder / 'tensorboard'}")
    return reports


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
