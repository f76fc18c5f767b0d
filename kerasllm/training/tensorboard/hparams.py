"""The run's hyperparameters and its best epoch, for the HParams table."""

import math

from kerasllm.training.tensorboard.part import Part, split_logs, write_scalars


class HParams(Part):
    """Hyperparameters with the metrics of the best epoch.

    TensorBoard's table shows the last value of a metric, and the last epoch is seldom the best. So
    whenever `monitor` improves, all that was logged is written again as `best/NAME`, with the
    number of the epoch (from 1) as `best/epoch`; the table shows these.

    Args:
        values: dict of name -> bool, number or str; anything else is written as its `str`. None to
            write the best metrics alone, as in a search of Keras Tuner, which writes the
            hyperparameters itself.
        monitor: The logged value that says which epoch is best. `"val_loss"` by default.
        mode: `"max"` or `"min"`; by default `"min"` for losses and errors, else `"max"`.
        history: For a run that goes on after a break, what the epochs before logged: dict of name
            -> list, such as `KeepBest.history`.

    Raises:
        ValueError: If `mode` makes no sense, or, in training, `monitor` is not logged.
    """

    def __init__(self, values=None, monitor="val_loss", mode=None, history=None):
        if mode not in (None, "max", "min"):
            raise ValueError(f"mode is {mode!r}; expected 'max', 'min' or None.")
        lower_is_better = any(word in monitor for word in ("loss", "error", "perplexity"))
        self.values, self.monitor = values, monitor
        self.mode = mode or ("min" if lower_is_better else "max")
        self.history = history

    def begin(self, board):
        self._best, self._described = None, False
        history = {name: list(values) for name, values in (self.history or {}).items()}
        for epoch in range(len(history.get(self.monitor, ()))):
            self._judge(board, epoch, {name: values[epoch] for name, values in history.items()})
        if self.values is not None:
            from tensorboard.plugins.hparams import api

            with board.run_writer.as_default():
                api.hparams({name: _plain(value) for name, value in self.values.items()})

    def epoch_end(self, board, epoch, logs):
        if self.monitor not in logs:
            raise ValueError(
                f"HParams monitors {self.monitor}, which is not among the logged values: "
                f"{', '.join(sorted(logs))}."
            )
        self._judge(board, epoch, logs)

    def _judge(self, board, epoch, logs):
        """Writes the logs if they are the best so far."""
        if not self._described:
            self._describe(board, logs)
        value = float(logs[self.monitor])
        if self._best is not None and not math.isnan(self._best):
            better = value > self._best if self.mode == "max" else value < self._best
            if not better:
                return
        self._best = value
        numbers = {f"best/{name}": number for name, number in split_logs(logs)[0].items()}
        write_scalars(board.run_writer, {**numbers, "best/epoch": epoch + 1}, epoch)

    def _describe(self, board, logs):
        """Names the columns of the table."""
        self._described = True
        if self.values is None:
            return
        from tensorboard.plugins.hparams import api

        names = [self.monitor, *(name for name in logs if name != self.monitor), "epoch"]
        with board.run_writer.as_default():
            api.hparams_config(
                hparams=[api.HParam(name) for name in self.values],
                metrics=[api.Metric(f"best/{name}", display_name=f"best {name}") for name in names],
            )

    def end(self, board):
        if self.values is not None:
            import tensorflow as tf
            from tensorboard.plugins.hparams import api_pb2, summary

            message = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
            with board.run_writer.as_default():
                tf.summary.experimental.write_raw_pb(message.SerializeToString(), step=0)


def _plain(value):
    """A value that the plugin takes."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, (bool, int, float, str)) else str(value)
