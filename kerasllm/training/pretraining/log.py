"""What a training tells: a line now and then, a row for every step, TensorBoard."""

import contextlib
import csv
import math
import os
import pathlib

from kerasllm.files import atomic_write

_COLUMNS = ("step", "loss", "gradient_norm", "accuracy", "learning_rate")


class StepTable:
    """`steps.csv`: a row for each step, written as training goes.

    Numbers are written so that they are read as the same floats. After a resume or a rewind the
    rows of steps that are done again are dropped. Rows that a full disk does not take wait until it
    does.

    Args:
        path: The file.
        step: The number of steps done, whose rows stay.
    """

    def __init__(self, path, step):
        self.path = pathlib.Path(path)
        kept = []
        if self.path.is_file():
            with open(self.path, encoding="utf-8", newline="") as file:
                rows = [row for row in csv.reader(file) if len(row) == len(_COLUMNS)]
            kept = [row for row in rows[1:] if int(row[0]) < step]
        with atomic_write(self.path, newline="") as file:
            csv.writer(file).writerows([_COLUMNS, *kept])
        self._size = self.path.stat().st_size
        self._pending = []

    def write(self, first_step, losses, norms, accuracies, learning_rates):
        """Adds the rows of a group of steps."""
        steps = range(first_step, first_step + len(learning_rates))
        columns = (losses, norms, accuracies, learning_rates)
        self._pending += [
            (step, *(repr(float(value)) for value in values))
            for step, *values in zip(steps, *columns, strict=True)
        ]
        try:
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(self._pending)
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._size)  # no half of a row
            return
        self._size = self.path.stat().st_size
        self._pending = []


class Board:
    """Scalars for TensorBoard, in a folder; the writer is made at the first of them."""

    def __init__(self, folder):
        self.folder = str(folder)
        self._writer = None

    def write(self, step, **values):
        """Writes the values that are not None."""
        import tensorflow as tf

        # A full disk ends no training.
        with contextlib.suppress(tf.errors.OpError):
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(self.folder)
            with self._writer.as_default(step=step):
                for name, value in values.items():
                    if value is not None:
                        tf.summary.scalar(name, value)

    def close(self):
        """Writes what has not been written yet."""
        import tensorflow as tf

        if self._writer is not None:
            with contextlib.suppress(tf.errors.OpError):
                self._writer.close()


def format_time(seconds):
    """`"1:02:03"`, or `"2:03"` under an hour."""
    minutes, seconds = divmod(math.ceil(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def format_count(number):
    """`"1,234"`, `"56.7k"`, `"8.9M"`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if letter == 'k' else size):.1f}{letter}"
    return f"{number:,.0f}"
