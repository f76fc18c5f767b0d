"""The TensorBoard callback and the parts it is made of."""

from kerasllm.training.tensorboard.callback import TensorBoard
from kerasllm.training.tensorboard.hparams import HParams
from kerasllm.training.tensorboard.optimization import GradientNorms, LearningRate, WeightNorms
from kerasllm.training.tensorboard.part import Part
from kerasllm.training.tensorboard.projector import EmbeddingProjector, write_projector
from kerasllm.training.tensorboard.throughput import Throughput
from kerasllm.training.tensorboard.validation import (
    Validation,
    write_pr_curves,
    write_text_samples,
)

__all__ = [
    "EmbeddingProjector",
    "GradientNorms",
    "HParams",
    "LearningRate",
    "Part",
    "TensorBoard",
    "Throughput",
    "Validation",
    "WeightNorms",
    "default_parts",
    "write_pr_curves",
    "write_projector",
    "write_text_samples",
]


def default_parts():
    """The parts that need to be told nothing."""
    return [LearningRate(), GradientNorms(), WeightNorms(), Throughput()]
