"""Searches for the hyperparameters that suit a table of texts, and trains the best model.

    python recipes/tuner_search.py --train reviews.csv --budget 30m --output-dir runs/search
    python recipes/tuner_search.py --algorithm hyperband --max-trials 40 --workers 2
    python recipes/tuner_search.py --train reviews.csv --budget 15m --compare-default 3
    python recipes/tuner_search.py --model bert --pretrained FOLDER --train reviews.csv

Shows Keras Tuner on a real task: structure, regularisation, optimizer, schedule, batch size and
tokenizer, compared by macro-F1 on the validation rows. The rows are read and split as in
chinese_text_classification.py, and the first trial is what that recipe does by default, a BERT of
a pretrained folder included: there it is the fine-tuning that is searched, LoRA too. The best
three are trained from more seeds, as one training is also luck, and the best mean wins. A search
that was killed or interrupted goes on with the same command and --resume; a trial that fails is
recorded with its reason and tried once more. The output folder then holds

    trials.csv      a line for each trial: figures, hyperparameters, why it failed
    best.json       the best trial so far
    best_model/     model.keras and what else chinese_text_classification.py leaves, for predict.py
    tensorboard/    a run for each trial: tensorboard --logdir FOLDER/tensorboard, page HParams
    trials/         each trial's record; the best ones' checkpoints
    comparison.json, with --compare-default: the best against the default, from several seeds

model.keras is trained on training and validation rows; the validation figures in metrics.json are
those from before. Workers on other machines run this same command, with KERASTUNER_TUNER_ID (chief
on one, worker0, worker1 ... on the others), KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT set.
"""

import argparse
import logging
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from kerasllm.command_line import count
from kerasllm.data import read_parts
from kerasllm.datasets import reviews
from kerasllm.evaluation import format_report, require_matplotlib
from kerasllm.models.presets import PRETRAINED_PRESETS, default_epochs
from kerasllm.training import open_run_folder
from kerasllm.training.duration import parse_duration
from kerasllm.tuning import (
    ALGORITHMS,
    SEARCH_SPACES,
    BertHyperModel,
    Search,
    SearchSpace,
    SearchTuner,
    TextClassifierHyperModel,
    TextTask,
    die_with_parent,
    make_oracle,
    read_changes,
    worker_address,
)

# What may differ when a search goes on; in the end it has what was asked for last.
MAY_CHANGE = ("budget", "max_trials", "workers", "keep", "confirm", "compare_default", "no_retrain")
# A trial has half the epochs of the classification recipe, so that there can be twice as many.
SHARE_OF_EPOCHS = 0.5


def duration(text):
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", help="table of texts and labels; the built-in reviews by default")
    add("--valid", help="the same; split off the training rows by default")
    add("--test", help="the same; judges the last model once, at the end")
    add("--text-column", default="text", help="its name, or its position from 0 (default: text)")
    add("--label-column", default="label", help="the same (default: label)")
    add("--encoding", help="of the tables; recognised by default")
    add("--model", choices=sorted(SEARCH_SPACES), default="embedding_lstm")
    add("--pretrained", help="folder, or name on the Hugging Face Hub, of the weights of bert")
    add("--algorithm", choices=ALGORITHMS, default="bayesian")
    add("--max-trials", type=count, help="at most (default: 20 without --budget)")
    add("--budget", type=duration, help="time of the search, such as 90s, 30m or 1h30m")
    add("--space", help="JSON file: what may vary, in the place of the model's own ranges")
    add("--epochs", type=count, help="of a trial, at most (default: 2 to 10; bert: 4)")
    add("--patience", type=count, default=3, help="epochs without improvement (default: 3)")
    add("--max-length", type=count, default=256, help="tokens; the rest is cut (default: 256)")
    add("--workers", type=count, default=1, help="processes on this machine (default: 1)")
    add("--keep", type=count, default=3, help="checkpoints on disk, the best (default: 3)")
    add("--confirm", type=int, default=2, help="more seeds for the best three (default: 2)")
    add("--compare-default", type=count, metavar="SEEDS", help="train best and default so often")
    add("--no-retrain", action="store_true", help="save the best trial's model as it is")
    add("--dtype-policy", choices=["float32", "mixed_bfloat16"], default="float32")
    add("--seed", type=int, default=0)
    add("--output-dir", default="runs/search")
    add("--resume", action="store_true", help="go on with the search in --output-dir")
    return parser.parse_args(arguments)


def read_rows(arguments):
    paths = {part: getattr(arguments, part) for part in ("train", "valid", "test")}
    if arguments.train is None:
        if arguments.valid or arguments.test:
            raise ValueError("--valid and --test need --train: without it all rows are built in.")
        paths = reviews()
    columns = arguments.text_column, arguments.label_column
    return read_parts(paths, *columns, arguments.encoding, arguments.seed, with_test=False)


def make_hypermodel(arguments, parts, space):
    task = TextTask(parts["train"], parts["valid"], arguments.max_length)
    options = {"space": space, "patience": arguments.patience, "dtype": arguments.dtype_policy}
    epochs = arguments.epochs
    if arguments.pretrained:
        return BertHyperModel(arguments.pretrained, task, epochs, **options)
    if epochs is None:
        epochs = round(SHARE_OF_EPOCHS * default_epochs(len(parts["train"]), batch_size=128))
    return TextClassifierHyperModel(arguments.model, task, epochs, **options)


def work(arguments, hypermodel):
    """What a worker does: the trials that the chief gives, until it gives no more."""
    die_with_parent()
    oracle = make_oracle(arguments.algorithm, arguments.seed, keep=arguments.keep)
    SearchTuner(oracle, hypermodel, arguments.output_dir, arguments.seed).search()


def main(arguments=None):
    command = list(sys.argv[1:] if arguments is None else arguments)
    arguments = parse_arguments(arguments)
    require_matplotlib()
    # Each trial traces functions of its own, which TensorFlow takes for a mistake.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if arguments.max_trials is None and arguments.budget is None:
        arguments.max_trials = 20
    if (arguments.model in PRETRAINED_PRESETS) != bool(arguments.pretrained):
        raise ValueError("--model bert and --pretrained FOLDER belong together.")
    changes = read_changes(arguments.space) if arguments.space else None
    points = 3 if arguments.algorithm == "grid" else None
    space = SearchSpace(arguments.model, changes, points)
    address = worker_address()
    parts = read_rows(arguments)
    hypermodel = make_hypermodel(arguments, parts, space)
    if address is not None and "chief" not in address[0]:
        return work(arguments, hypermodel)

    settings = {k: v for k, v in vars(arguments).items() if k not in ("output_dir", "resume")}
    settings["space"] = changes  # what it holds, and not where it lies
    folder, _ = open_run_folder(
        arguments.output_dir, settings, arguments.resume, MAY_CHANGE, begun="trials/*/record.json"
    )
    search = Search(
        folder,
        hypermodel,
        arguments.algorithm,
        max_trials=arguments.max_trials,
        budget_seconds=arguments.budget,
        seed=arguments.seed,
        keep=arguments.keep,
        confirm=arguments.confirm,
    )
    search.run(
        [sys.executable, os.path.abspath(__file__), *command],
        arguments.workers,
        address and address[1:],
    )
    reports = search.save_best(parts["valid"], parts.get("test"), not arguments.no_retrain)
    print("\n" + format_report(reports))
    if arguments.compare_default:
        print("\n" + search.compare(arguments.compare_default))
    print(f"\ntrials, best model, figures: {folder}\ntensorboard --logdir {folder / 'tensorboard'}")
    return reports


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("\ninterrupted: what was found is kept; --resume goes on.", file=sys.stderr)
        sys.exit(130)
