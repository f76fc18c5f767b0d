"""A tuner of Keras Tuner whose trials depend on nothing but their hyperparameters."""

import ctypes
import errno
import functools
import gc
import hashlib
import json
import os
import pathlib
import shutil
import sys
import threading
import time
import traceback

import keras
import numpy as np

from kerasllm.models.loading import without_optimizer
from kerasllm.training.tensorboard import HParams, TensorBoard, Throughput
from kerasllm.tuning.oracles import OBJECTIVE, ORDER, RESULT, message
from kerasllm.tuning.records import CHECKPOINT, TRIALS, values_key
from kerasllm.tuning.requirements import require_keras_tuner

keras_tuner = require_keras_tuner()

from keras_tuner.engine.trial import TrialStatus  # noqa: E402
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch  # noqa: E402

HEARTBEAT_SECONDS = 5
# A chief that does not answer for so long is gone.
PATIENCE_SECONDS = 60


class SearchTuner(keras_tuner.Tuner):
    """Runs the trials that an oracle of `kerasllm.tuning.make_oracle` proposes.

    A trial's random numbers follow from its hyperparameters, so it gives the same result whichever
    worker runs it, and however often. All of its memory is given back at its end. Trials of
    Hyperband that go on for more epochs are trained anew: the schedule of the learning rate is
    made for a number of epochs, and a trial needs no other one's checkpoint.

    Args:
        oracle: The oracle; in a worker it is replaced by Keras Tuner's client of the chief.
        hypermodel: A `kerasllm.tuning.TextClassifierHyperModel`.
        folder: The search's output folder.
        seed: An int.
    """

    def __init__(self, oracle, hypermodel, folder, seed=0):
        self.folder, self.seed = pathlib.Path(folder), seed
        self.keep = oracle.keep
        super().__init__(oracle, hypermodel, directory=str(folder), project_name=TRIALS)
        self.is_worker = not isinstance(self.oracle, keras_tuner.Oracle)
        self._mine = set()

    def search(self):
        """Runs trials until the oracle has no more; in a worker, those that the chief gives."""
        while True:
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                return
            if trial.status == TrialStatus.IDLE:
                time.sleep(0.2)
                continue
            heart = Heart(self.oracle, trial.trial_id) if self.is_worker else None
            try:
                result = self._result(trial)
            finally:
                if heart is not None:
                    heart.stop()
                give_memory_back()
            self.oracle.end_trial(message(trial, RESULT, result))
            if self.is_worker:
                self._prune(trial.trial_id)

    def _result(self, trial):
        """The figures of a trial, or the reason why there are none."""
        try:
            return self.run_trial(trial)
        except Exception as error:  # whatever it is, the next trial may do better
            if disk_is_full(error):
                raise full_disk(self.folder) from error
            text = "".join(traceback.format_exception(error))
            (pathlib.Path(self.get_trial_dir(trial.trial_id)) / "error.txt").write_text(text)
            return {"reason": f"{type(error).__name__}: {error}"}

    def run_trial(self, trial):
        """Trains one model; a dict of `kerasllm.tuning.records.FIGURES`, and `history`."""
        order = json.loads(trial.hyperparameters.values[ORDER])
        trial.hyperparameters = keras_tuner.HyperParameters()
        trial.hyperparameters.values = order["values"]
        self.hypermodel.declare_hyperparameters(trial.hyperparameters)
        shutil.rmtree(self.folder / "tensorboard" / trial.trial_id, ignore_errors=True)
        board = TensorBoard(
            str(self.folder / "tensorboard"), [Throughput(), HParams(None, OBJECTIVE)]
        )
        seed = training_seed(order["values"], self.seed)
        keras.utils.set_random_seed(seed)
        begun = time.monotonic()
        histories = super().run_trial(trial, callbacks=[board], seed=seed, seconds=order["seconds"])
        return figures(histories[0], time.monotonic() - begun)

    def _build_and_fit_model(self, trial, *args, **kwargs):
        for callback in kwargs["callbacks"]:
            if isinstance(callback, SaveBestEpoch):  # Keras Tuner's
                callback._save_model = functools.partial(save_weights_alone, callback)
        return super()._build_and_fit_model(trial, *args, **kwargs)

    def _populate_initial_space(self):
        """Declares the space without building models for it."""
        hp = self.oracle.get_space()
        self.hypermodel.declare_hyperparameters(hp)
        self.oracle.update_space(hp)

    def _get_tensorboard_dir(self, logdir, trial_id, execution):
        return str(pathlib.Path(logdir) / trial_id)

    def _prune(self, trial_id):
        """On a machine of its own a worker keeps the checkpoints of the best trials only."""
        self._mine.add(trial_id)
        best = {trial.trial_id for trial in self.oracle.get_best_trials(self.keep)}
        for old in self._mine - best:
            (pathlib.Path(self.get_trial_dir(old)) / CHECKPOINT).unlink(missing_ok=True)
        self._mine &= best

    def save(self):
        """The oracle's records hold all."""


def save_weights_alone(callback):
    """What a `SaveBestEpoch` does, without the optimizer's state, which no checkpoint needs."""
    with without_optimizer(callback.model):
        callback.model.save_weights(callback.filepath)


class Heart:
    """Tells the chief that a trial's worker lives, and ends the worker when the chief is gone."""

    def __init__(self, oracle, trial_id):
        self._oracle, self._trial_id = oracle, trial_id
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def stop(self):
        self._stopped.set()

    def _beat(self):
        import grpc
        from keras_tuner.src import protos

        last = time.monotonic()
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            request = protos.get_service().GetTrialRequest(trial_id=self._trial_id)
            try:
                self._oracle.stub.GetTrial(request, timeout=HEARTBEAT_SECONDS)
                last = time.monotonic()
            except grpc.RpcError:
                if time.monotonic() - last > PATIENCE_SECONDS:
                    print("error: the chief is gone; so this worker ends.", file=sys.stderr)
                    sys.stderr.flush()
                    os._exit(1)


def training_seed(values, seed):
    """The seed of a training, which follows from its hyperparameters; an int below 2**31."""
    own = {name: value for name, value in values.items() if not name.startswith("tuner/")}
    digest = hashlib.sha256(f"{seed} {values_key(own)}".encode()).digest()
    return int.from_bytes(digest[:4], "little") % 2**31


def figures(history, seconds):
    """What is kept of a training: the figures of its best epoch, and all epochs."""
    logs = {
        name: [float(value) for value in values]
        for name, values in history.history.items()
        if not np.ndim(values[0])  # a matrix is no curve
    }
    scores = logs[OBJECTIVE]
    best = max(range(len(scores)), key=lambda epoch: scores[epoch])
    return {
        "valid_macro_f1": scores[best],
        "valid_accuracy": logs["val_accuracy"][best],
        "train_accuracy": logs["accuracy"][best],
        "best_epoch": best + 1,
        "epochs": len(scores),
        "out_of_time": history.out_of_time,
        "seconds": round(seconds, 2),
        "history": logs,
    }


def give_memory_back():
    """Frees what a finished training held, to the system and not to the next allocation only."""
    keras.backend.clear_session()
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        pass


def full_disk(folder):
    """The error that says what to do about a disk on which a search found no more room."""
    reason = "The disk is full. What was found is kept; make room, and go on with --resume"
    return OSError(errno.ENOSPC, reason, str(folder))


def disk_is_full(error):
    """Whether an error, or one behind it, says that nothing more can be written."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
