"""What `model.fit` needs around it: callbacks, schedules, regularisers."""

from kerasllm.training import fine_tune, parameter_efficient
from kerasllm.training.ensemble import SoftVote, average_weights, soft_vote
from kerasllm.training.keep_best import KeepBest
from kerasllm.training.losses import SmoothedCrossentropy, SparseFocalCrossentropy
from kerasllm.training.regularizers import (
    FGM,
    PGD,
    GradientPenalty,
    Mixup,
    RDrop,
    SpatialDropout,
    VirtualAdversarial,
    WeightDecay,
    WeightPenalty,
    WordDropout,
    regularize,
)
from kerasllm.training.run_folder import open_run_folder
from kerasllm.training.tensorboard import TensorBoard
from kerasllm.training.weight_average import WeightAverage

__all__ = [
    "FGM",
    "PGD",
    "GradientPenalty",
    "KeepBest",
    "Mixup",
    "RDrop",
    "SmoothedCrossentropy",
    "SoftVote",
    "SparseFocalCrossentropy",
    "SpatialDropout",
    "TensorBoard",
    "VirtualAdversarial",
    "WeightAverage",
    "WeightDecay",
    "WeightPenalty",
    "WordDropout",
    "average_weights",
    "fine_tune",
    "open_run_folder",
    "parameter_efficient",
    "regularize",
    "soft_vote",
]
