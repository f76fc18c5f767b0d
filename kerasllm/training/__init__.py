"""What `model.fit` needs around it: callbacks, schedules, regularisers."""

from kerasllm.training.keep_best import KeepBest
from kerasllm.training.run_folder import open_run_folder
from kerasllm.training.tensorboard import TensorBoard

__all__ = ["KeepBest", "TensorBoard", "open_run_folder"]
