"""A sweep on paper: a table, bars with intervals, and HParams in TensorBoard."""

import csv
import json
import math
import pathlib
import shutil

from kerasllm.evaluation import plot_intervals
from kerasllm.files import atomic_write
from kerasllm.tuning.statistics import summarize

CELL_COLUMNS = ("regularizer", "strength", "seed", "status")
FIGURES = (
    "valid_accuracy",
    "valid_macro_f1",
    "train_accuracy",
    "gap",
    "best_epoch",
    "epochs",
    "seconds",
)


def write_sweep(folder, results):
    """Writes `sweep.csv`, a line for each cell, `sweep.json` with the summary, and `sweep.png`.

    Args:
        folder: Where to write.
        results: As `kerasllm.tuning.run_sweep` returns them.

    Returns:
        The summary, as `kerasllm.tuning.summarize` gives it.
    """
    folder = pathlib.Path(folder)
    summary = summarize(results)
    columns = (*CELL_COLUMNS, *FIGURES, "reason")
    with atomic_write(folder / "sweep.csv", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(results)
    content = {"results": results, "summary": _without_nan(summary)}
    with atomic_write(folder / "sweep.json") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
    plot_sweep(folder / "sweep.png", summary)
    return summary


def plot_sweep(path, summary):
    """Draws accuracy and macro-F1 of each regulariser and strength, with their 95% intervals.

    The band is the interval of training without a regulariser.

    Args:
        path: The PNG file.
        summary: As `kerasllm.tuning.summarize` gives it.
    """
    rows = [row for row in summary if row["seeds"]]
    plain = [place for place, row in enumerate(rows) if row["regularizer"] == "none"]
    names = [
        "none" if place in plain else f"{row['regularizer']} {row['strength']:g}"
        for place, row in enumerate(rows)
    ]
    panels = {
        title: [(row[metric], row[f"{metric}_interval"]) for row in rows]
        for metric, title in (("valid_accuracy", "accuracy"), ("valid_macro_f1", "macro F1"))
    }
    plot_intervals(path, names, panels, plain[0] if plain else None)


def log_hparams(folder, cell, figures, history):
    """Logs a finished cell for TensorBoard's HParams page, in a folder of its own.

    The page shows a scalar's last value, so the best epoch's figures are logged as such, beside the
    curves.

    Args:
        folder: TensorBoard's folder.
        cell: The `kerasllm.tuning.Cell`; what was logged of it before is replaced.
        figures: dict of name -> number, those of the best epoch.
        history: dict of name -> one value an epoch.
    """
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    path = pathlib.Path(folder) / cell.name
    shutil.rmtree(path, ignore_errors=True)
    writer = tf.summary.create_file_writer(str(path))
    with writer.as_default():
        hparams = {"regularizer": cell.regularizer, "strength": cell.strength, "seed": cell.seed}
        api.hparams(hparams, trial_id=cell.name)
        for name, values in history.items():
            for epoch, value in enumerate(values):
                tf.summary.scalar(f"epoch/{name}", value, step=epoch)
        for name in FIGURES:
            tf.summary.scalar(f"best/{name}", figures[name], step=figures["best_epoch"])
    writer.close()


def _without_nan(rows):
    """JSON has no NaN."""
    return [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in rows
    ]
