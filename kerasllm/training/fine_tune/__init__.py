"""Fine-tuning of pretrained transformers."""

from kerasllm.training.fine_tune.fit import NO_WEIGHT_DECAY, compile_model, fit
from kerasllm.training.fine_tune.freezing import GradualUnfreezing, freeze
from kerasllm.training.fine_tune.layer_decay import layer_multipliers
from kerasllm.training.fine_tune.schedule import LinearWarmupDecay
from kerasllm.training.fine_tune.stages import Stages, find_stages

__all__ = [
    "NO_WEIGHT_DECAY",
    "GradualUnfreezing",
    "LinearWarmupDecay",
    "Stages",
    "compile_model",
    "find_stages",
    "fit",
    "freeze",
    "layer_multipliers",
]
