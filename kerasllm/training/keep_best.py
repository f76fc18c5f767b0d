"""One callback that keeps the best model, stops when it gets no better, and can be resumed."""

import json
import math
import pathlib
import zipfile

import keras
import numpy as np

from kerasllm.files import atomic_write, replace_file
from kerasllm.models.loading import load_model, save_without_optimizer
from kerasllm.training.tensorboard.part import split_logs

STATE = "state.json"


class KeepBest(keras.callbacks.Callback):
    """Keeps the best and the last model on disk, stops early, and goes on where a run broke off.

    Keras has these as three callbacks (`ModelCheckpoint`, `EarlyStopping`, `BackupAndRestore`) that
    do not know of each other: after a restart the best value and the patience begin anew. Here one
    file holds the state of all three. An epoch's model is written under the epoch's name and
    counts from the moment that `state.json`, replaced in one go, names the epoch; only then are
    older models deleted. So a kill at any moment leaves a folder to resume from. The optimizer's
    state, for Adam twice the weights, is kept of the last epoch alone: the best model needs none.

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
        folder: Where `state.json` is kept, and the models of the last and of the best epoch as
            `epoch_<number>.keras`, and the optimizer's state of the last one as
            `epoch_<number>.optimizer.npz`. A run that starts anew there replaces what it finds.
        monitor: The logged value that says which model is better. `"val_macro_f1"` by default.
        mode: `"max"` or `"min"`.
        patience: Epochs without improvement after which training stops, 1 or more. 3 by default.

    Raises:
        ValueError: If `mode` or `patience` makes no sense; in training, if `monitor` is not logged
            or `fit` starts at another epoch than the one after those kept.
    """

    def __init__(self, folder, monitor="val_macro_f1", mode="max", patience=3):
        super().__init__()
        if mode not in ("max", "min"):
            raise ValueError(f"mode is {mode!r}; expected 'max' or 'min'.")
        if patience < 1:
            raise ValueError(f"patience is {patience}; expected 1 epoch or more.")
        self.folder = pathlib.Path(folder)
        self.monitor, self.mode, self.patience = monitor, mode, patience
        self.state = {
            "monitor": monitor,
            "mode": mode,
            "finished_epochs": 0,
            "best": None,
            "best_epoch": None,  # from 0, as fit counts
            "history": {},
            "random_state": [],
        }

    def resume(self):
        """Loads the last model, with its optimizer, and the state; `(model, initial_epoch)`.

        Returns:
            `None` where there is nothing to resume.

        Raises:
            ValueError: If the folder's files are damaged or were kept for another monitor or mode.
        """
        path = self.folder / STATE
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            state = {name: found[name] for name in self.state}
            model = load_model(self._model_file(state["finished_epochs"] - 1))
            for variable, value in zip(_random_state(model), state["random_state"], strict=True):
                variable.assign(value)
            if getattr(model, "optimizer", None) is not None:
                load_optimizer(model.optimizer, self._optimizer_file(state["finished_epochs"] - 1))
        except (OSError, KeyError, TypeError, ValueError) as error:
            reason = f"{STATE} lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(
                f"{self.folder} cannot be resumed: {reason}. Delete it to start afresh."
            ) from error
        kept_for = state["monitor"], state["mode"]
        if kept_for != (self.monitor, self.mode):
            raise ValueError(
                f"{path} was kept for {kept_for}, not for {(self.monitor, self.mode)}; delete the "
                "folder or monitor the same value."
            )
        self.state = state
        return model, state["finished_epochs"]

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
        """The best model so far, loaded from disk; its optimizer begins anew."""
        if self.state["best_epoch"] is None:
            raise ValueError(f"There is no best model in {self.folder}: no epoch has finished.")
        return load_model(self._model_file(self.state["best_epoch"]))

    def on_epoch_begin(self, epoch, logs=None):
        finished = self.state["finished_epochs"]
        if epoch != finished:
            raise ValueError(
                f"KeepBest holds {finished} finished epochs, but training goes on after {epoch}: "
                "give fit the initial_epoch that resume() returned, or make a new KeepBest."
            )
        if epoch == 0:
            (self.folder / STATE).unlink(missing_ok=True)  # of an earlier run

    def on_epoch_end(self, epoch, logs=None):
        # Matrices, such as that of ConfusionMatrix, are no curves; they are left out.
        logs = {name: float(value) for name, value in split_logs(logs)[0].items()}
        if self.monitor not in logs:
            raise ValueError(
                f"KeepBest monitors {self.monitor}, which is not among the logged values: "
                f"{', '.join(sorted(logs))}."
            )
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)
        self.state["finished_epochs"] = epoch + 1
        self.state["random_state"] = [
            keras.ops.convert_to_numpy(variable).tolist() for variable in _random_state(self.model)
        ]
        if self._improved(logs[self.monitor]):
            self.state["best"], self.state["best_epoch"] = logs[self.monitor], epoch
        if getattr(self.model, "optimizer", None) is not None:
            save_optimizer(self.model.optimizer, self._optimizer_file(epoch))
        with replace_file(self._model_file(epoch)) as temporary:
            save_without_optimizer(self.model, temporary)
        with atomic_write(self.folder / STATE) as file:
            json.dump(self.state, file, indent=1)
        kept = {self._model_file(epoch), self._model_file(self.state["best_epoch"])}
        kept.add(self._optimizer_file(epoch))
        written = {*self.folder.glob("*epoch_*.keras"), *self.folder.glob("*epoch_*.npz*")}
        for path in written - kept:
            path.unlink()
        if self.finished:
            self.model.stop_training = True

    def _improved(self, value):
        best = self.state["best"]
        if math.isnan(value):
            return best is None  # keep something, even where nothing was learned
        if best is None or math.isnan(best):
            return True
        return value > best if self.mode == "max" else value < best

    def _model_file(self, epoch):
        return self.folder / f"epoch_{epoch + 1}.keras"

    def _optimizer_file(self, epoch):
        return self.folder / f"epoch_{epoch + 1}.optimizer.npz"


def save_optimizer(optimizer, path):
    """Writes the values of an optimizer's variables, in their order."""
    # NumPy's files have no bfloat16; float32 holds it exactly.
    values = [
        keras.ops.convert_to_numpy(
            keras.ops.cast(variable, "float32") if variable.dtype == "bfloat16" else variable
        )
        for variable in optimizer.variables
    ]
    with atomic_write(path, "wb") as file:
        np.savez(file, **{str(index): value for index, value in enumerate(values)})


def load_optimizer(optimizer, path):
    """Gives an optimizer that was built for the same model what `save_optimizer` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or of another optimizer.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        with np.load(path) as file:
            values = [file[str(index)] for index in range(len(file.files))]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    shapes = [tuple(variable.shape) for variable in optimizer.variables]
    if [value.shape for value in values] != shapes:
        raise ValueError(f"{path} is of another optimizer: it does not have the same variables")
    for variable, value in zip(optimizer.variables, values, strict=True):
        variable.assign(value)


def _random_state(model):
    """The variables that a saved model lacks, such as the states of dropout's generators."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]
