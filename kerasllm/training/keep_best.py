"""One callback that keeps the best model, stops when it gets no better, and can be resumed."""

import json
import math
import pathlib

import keras

from kerasllm.files import atomic_write, replace_file

LAST, BEST, STATE = "last.keras", "best.keras", "state.json"


class KeepBest(keras.callbacks.Callback):
    """Keeps the best and the last model on disk, stops early, and goes on where a run broke off.

    Keras has these as three callbacks (`ModelCheckpoint`, `EarlyStopping`, `BackupAndRestore`) that
    do not know of each other: after a restart the best value and the patience begin anew. Here one
    file holds the state of all three. Every file is written whole under another name and renamed,
    the state last, so a kill at any moment leaves a folder to resume from.

    A resumed run repeats no finished epoch, and with data that depend on the epoch's number alone
    (`kerasllm.data.make_batches` with `first_epoch=initial_epoch`) ends with the same weights as
    one that was never interrupted.

    Examples:

    >>> keep = kerasllm.training.KeepBest("runs/hotel", monitor="val_macro_f1", patience=3)
    >>> model, initial_epoch = keep.resume() or (build_model(), 0)
    >>> model.fit(batches, validation_data=valid, epochs=20, initial_epoch=initial_epoch,
    ...           callbacks=[keep])
    >>> model = keep.best_model()

    Args:
        folder: Where `last.keras`, `best.keras` and `state.json` are kept.
        monitor: The logged value that says which model is better. `"val_macro_f1"` by default.
        mode: `"max"` or `"min"`.
        patience: Epochs without improvement after which training stops. 3 by default.
    """

    def __init__(self, folder, monitor="val_macro_f1", mode="max", patience=3):
        super().__init__()
        if mode not in ("max", "min"):
            raise ValueError(f"mode is {mode!r}; expected 'max' or 'min'.")
        self.folder = pathlib.Path(folder)
        self.monitor, self.mode, self.patience = monitor, mode, patience
        self.state = {"finished_epochs": 0, "best": None, "best_epoch": None, "history": {}}

    def resume(self):
        """Loads the last model, with its optimizer, and the state; `(model, initial_epoch)`.

        Returns:
            `None` where there is nothing to resume.

        Raises:
            ValueError: If the folder's files are damaged or were kept for another monitor.
        """
        path = self.folder / STATE
        if not path.is_file():
            return None
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            monitor, finished = state["monitor"], state["finished_epochs"]
            model = keras.models.load_model(self.folder / LAST)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.folder} cannot be resumed: {error}. Delete it to start afresh."
            ) from error
        if monitor != self.monitor:
            raise ValueError(
                f"{path} was kept for {monitor}, not for {self.monitor}; delete the folder or "
                "monitor the same value."
            )
        self.state = state
        return model, finished

    @property
    def history(self):
        """The logged values of every epoch so far, those before a resume too: name -> list."""
        return self.state["history"]

    @property
    def finished(self):
        """Whether patience has run out, so that there is nothing left to train."""
        best_epoch = self.state["best_epoch"]
        waited = 0 if best_epoch is None else self.state["finished_epochs"] - 1 - best_epoch
        return waited >= self.patience

    def best_model(self):
        """The best model so far, loaded from disk."""
        return keras.models.load_model(self.folder / BEST)

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if self.monitor not in logs:
            raise ValueError(
                f"KeepBest monitors {self.monitor}, which is not among the logged values: "
                f"{', '.join(sorted(logs))}."
            )
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)
        self.state["finished_epochs"] = epoch + 1
        self.state["monitor"] = self.monitor
        if self._improved(logs[self.monitor]):
            self.state["best"], self.state["best_epoch"] = logs[self.monitor], epoch
            self._save(BEST)
        self._save(LAST)
        with atomic_write(self.folder / STATE) as file:
            json.dump(self.state, file, indent=1)
        if self.finished:
            self.model.stop_training = True

    def _improved(self, value):
        best = self.state["best"]
        if math.isnan(value):
            return best is None  # keep something, even where nothing was learned
        if best is None or math.isnan(best):
            return True
        return value > best if self.mode == "max" else value < best

    def _save(self, name):
        with replace_file(self.folder / name) as temporary:
            self.model.save(temporary)
