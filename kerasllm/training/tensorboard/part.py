"""What a part of the TensorBoard callback is."""

import copy

import numpy as np


class Part:
    """One thing that `kerasllm.training.TensorBoard` logs; a subclass overrides what it needs.

    Every method gets the callback, `board`, with its `model`, its `log_dir`, and three writers of
    `tf.summary` that make their files when first used: `board.run_writer` for the run as a whole,
    `board.train_writer` and `board.validation_writer`. A part sets up what it gathers during a run
    in `begin`, so that one object serves any number of runs. Copies share the data that the part
    was given (Keras Tuner deep-copies callbacks for each trial).

    Examples:

    >>> class Temperature(Part):
    ...     def epoch_end(self, board, epoch, logs):
    ...         with board.train_writer.as_default(epoch):
    ...             tf.summary.scalar("temperature", read_sensor())
    """

    def begin(self, board):
        """Before the first epoch."""

    def epoch_begin(self, board, epoch):
        """Before each epoch, `epoch` counted from 0."""

    def batch_end(self, board, step, logs):
        """After a training batch; `step` counts those of this call of `fit` from 1."""

    def epoch_end(self, board, epoch, logs):
        """After an epoch and its validation, with all that `fit` logs."""

    def end(self, board):
        """After the last epoch."""

    def __deepcopy__(self, memo):
        return copy.copy(self)


def write_scalars(writer, values, step):
    """Writes a dict of tag -> number at a step."""
    import tensorflow as tf

    with writer.as_default(step):
        for tag, value in values.items():
            tf.summary.scalar(tag, value)


def split_logs(logs):
    """What `fit` logs as two dicts: numbers, and matrices such as that of `ConfusionMatrix`."""
    numbers, matrices = {}, {}
    for name, value in (logs or {}).items():
        (matrices if np.ndim(value) else numbers)[name] = value
    return numbers, matrices
