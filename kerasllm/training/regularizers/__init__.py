"""Regularisers that `kerasllm.training.regularize` puts into a model's train step."""

from kerasllm.training.regularizers.adversarial import FGM, PGD
from kerasllm.training.regularizers.base import Regularizer
from kerasllm.training.regularizers.embedding_dropout import SpatialDropout, WordDropout
from kerasllm.training.regularizers.gradient_penalty import GradientPenalty
from kerasllm.training.regularizers.mixup import Mixup
from kerasllm.training.regularizers.r_drop import RDrop
from kerasllm.training.regularizers.regularize import regularize
from kerasllm.training.regularizers.virtual_adversarial import VirtualAdversarial
from kerasllm.training.regularizers.weight_penalties import WeightDecay, WeightPenalty

__all__ = [
    "FGM",
    "PGD",
    "GradientPenalty",
    "Mixup",
    "RDrop",
    "Regularizer",
    "SpatialDropout",
    "VirtualAdversarial",
    "WeightDecay",
    "WeightPenalty",
    "WordDropout",
    "regularize",
]
