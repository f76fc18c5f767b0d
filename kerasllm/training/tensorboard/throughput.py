"""How fast training goes, and how much memory it takes."""

import sys
import time

import keras
from keras import ops

from kerasllm.training.tensorboard.part import Part, write_scalars
from kerasllm.training.tensorboard.step_hooks import hook_train_step


class Throughput(Part):
    """Samples, tokens and steps a second of each epoch's training, and memory in GiB.

    Validation and other callbacks between epochs are not in the time; the first epoch's includes
    the compilation of the step. Tokens are the ids that are not padding, in the first input if that
    holds integers of `(batch, time)`. Memory is the process's, its peak so far, each GPU's peak.

    Args:
        pad_id: The id of padding. 0 by default.
    """

    def __init__(self, pad_id=0):
        self.pad_id = pad_id

    def begin(self, board):
        with board.model.distribute_strategy.scope():
            self._samples = keras.metrics.Sum(dtype="float32")
            self._tokens = keras.metrics.Sum(dtype="float32")
        self._steps, self._begun, self._ended = 0, 0.0, 0.0
        self._unhook = hook_train_step(board.model, self._see)

    def _see(self, data):
        inputs = keras.utils.unpack_x_y_sample_weight(data)[0]
        first = next(leaf for leaf in keras.tree.flatten(inputs) if leaf is not None)
        self._samples.update_state(ops.shape(first)[0])
        if "int" in keras.backend.standardize_dtype(first.dtype) and len(first.shape) == 2:
            self._tokens.update_state(ops.count_nonzero(ops.not_equal(first, self.pad_id)))

    def epoch_begin(self, board, epoch):
        self._samples.reset_state()
        self._tokens.reset_state()
        self._steps, self._begun = 0, time.perf_counter()

    def batch_end(self, board, step, logs):
        self._steps += 1
        self._ended = time.perf_counter()

    def epoch_end(self, board, epoch, logs):
        seconds = max(self._ended - self._begun, 1e-9)
        counts = {
            "samples": float(self._samples.result()),
            "tokens": float(self._tokens.result()),
            "steps": self._steps,
        }
        rates = {f"throughput/{name}_per_second": n / seconds for name, n in counts.items() if n}
        write_scalars(board.train_writer, rates | memory_in_use(), epoch)

    def end(self, board):
        self._unhook()


def memory_in_use():
    """GiB in use: `memory/process`, `memory/process_peak`, and `memory/gpu_N_peak`."""
    found = {}
    for tag, field in (("process", "VmRSS:"), ("process_peak", "VmHWM:")):
        kibibytes = _status(field)
        if kibibytes is not None:
            found[f"memory/{tag}"] = kibibytes / 2**20
    tf = sys.modules.get("tensorflow")
    if tf is not None:
        for number, device in enumerate(tf.config.list_logical_devices("GPU")):
            peak = tf.config.experimental.get_memory_info(device.name)["peak"]
            found[f"memory/gpu_{number}_peak"] = peak / 2**30
    return found


def _status(field):
    """A number from Linux's account of this process, in KiB; None on other systems."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(field)), None)
    except OSError:
        return None
