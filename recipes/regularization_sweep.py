"""Sweeps regularisers and their strengths on one table of texts, several seeds each.

    python recipes/regularization_sweep.py --train reviews.csv --output-dir runs/sweep
    python recipes/regularization_sweep.py --regularizers r_drop fgm --strengths 0.5 1 2

Shows which regulariser helps a task, by how much, and whether that is more than luck: each is
trained from several seeds, and the table has means with 95% intervals (Student's t). The rows are
read and split as in chinese_text_classification.py; all trainings share vocabulary and rows, and
differ in the regulariser and the seed alone. Plain training, the row "none", and the others are
judged after their last epoch; stopping early is one of the regularisers. A sweep that was killed
goes on with the same command and --resume; a training that fails is recorded with its reason, and
the others go on. The output folder then holds

    sweep.csv      a line for each training
    sweep.json     the same, and the summary
    sweep.png      accuracy and macro-F1 with their intervals; the band is plain training
    tensorboard/   tensorboard --logdir FOLDER/tensorboard, page HParams
"""

import argparse
import logging
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from kerasllm.command_line import count, positive, rate
from kerasllm.data import read_parts
from kerasllm.datasets import reviews
from kerasllm.evaluation import require_matplotlib
from kerasllm.text import CharTokenizer, JiebaTokenizer, TextCleaner, TextPipeline
from kerasllm.training import open_run_folder
from kerasllm.tuning import (
    REGULARIZERS,
    CellTrainer,
    make_cells,
    run_sweep,
    summary_table,
    write_sweep,
)

TOKENIZERS = {"jieba": JiebaTokenizer, "char": CharTokenizer}


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", help="table of texts and labels; the built-in reviews by default")
    add("--valid", help="the same; split off the training rows by default")
    add("--text-column", default="text", help="its name, or its position from 0 (default: text)")
    add("--label-column", default="label", help="the same (default: label)")
    add("--encoding", help="of the tables; recognised by default")
    add("--train-rows", type=count, help="cut the training rows to about as many, stratified")
    known = [name for name in REGULARIZERS if name != "none"]
    add("--regularizers", nargs="+", choices=known, default=known, metavar="NAME", help=f"{known}")
    add("--strengths", nargs="+", type=float, help="for all of them (default: each one's own)")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--tokenizer", choices=sorted(TOKENIZERS), default="jieba")
    add("--max-length", type=count, default=128, help="tokens; the rest is cut (default: 128)")
    add("--embedding-dim", type=count, default=128)
    add("--units", type=count, default=64)
    add("--dropout", type=rate, default=0.0, help="of every training (default: 0)")
    add("--epochs", type=count, default=10, help="of each training (default: 10)")
    add("--batch-size", type=count, default=32)
    add(
        "--learning-rate",
        type=positive,
        default=2e-3,
        help="falls to 0 by a cosine over the epochs",
    )
    add("--dtype-policy", choices=["float32", "mixed_bfloat16"], default="float32")
    add("--output-dir", default="runs/regularization_sweep")
    add("--resume", action="store_true", help="go on with the sweep in --output-dir")
    return parser.parse_args(arguments)


def read_rows(arguments):
    """Training and validation rows, the former cut; DataFrames."""
    paths = {"train": arguments.train, "valid": arguments.valid}
    if arguments.train is None:
        if arguments.valid:
            raise ValueError("--valid needs --train: without it all rows are built in.")
        paths = reviews()
        del paths["test"]
    parts = read_parts(
        paths,
        arguments.text_column,
        arguments.label_column,
        arguments.encoding,
        with_test=False,
        train_rows=arguments.train_rows,
    )
    train, valid = parts["train"], parts["valid"]
    print(f"training rows: {len(train)}, validation rows: {len(valid)}")
    return train, valid


def main(arguments=None):
    arguments = parse_arguments(arguments)
    require_matplotlib()
    # Each training traces functions of its own, which TensorFlow takes for a mistake.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    cells = make_cells(arguments.regularizers, arguments.seeds, arguments.strengths)
    train, valid = read_rows(arguments)
    # More regularisers, strengths or seeds may join a sweep; what is done counts for them.
    settings = {k: v for k, v in vars(arguments).items() if k not in ("output_dir", "resume")}
    folder, _ = open_run_folder(
        arguments.output_dir,
        settings,
        arguments.resume,
        may_change=("regularizers", "strengths", "seeds"),
        begun="sweep.json",
    )
    pipeline = TextPipeline.fit(
        train["text"].tolist(),
        cleaner=TextCleaner(),
        tokenizer=TOKENIZERS[arguments.tokenizer](),
        min_frequency=2,
        spell_unknown=True,
        labels=sorted(set(train["label"])),
        max_length=arguments.max_length,
    )
    trainer = CellTrainer(
        folder,
        pipeline,
        train,
        valid,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        embedding_dim=arguments.embedding_dim,
        units=arguments.units,
        bidirectional=True,
        pooling="max",
        dropout=arguments.dropout,
        dtype=arguments.dtype_policy,
    )
    results = run_sweep(cells, trainer, folder)
    summary = write_sweep(folder, results)
    print(f"\n{summary_table(summary)}\n\n{folder}\ntensorboard --logdir {folder / 'tensorboard'}")
    return summary


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
