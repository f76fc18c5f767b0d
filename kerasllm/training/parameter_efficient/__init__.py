"""Parameter-efficient fine-tuning: a small part trains, beside a frozen base model."""

from kerasllm.training.parameter_efficient.adalora import AdaLoRA
from kerasllm.training.parameter_efficient.adapted_model import AdaptedModel
from kerasllm.training.parameter_efficient.adapter_file import (
    fingerprint,
    load_adapter,
    save_adapter,
)
from kerasllm.training.parameter_efficient.bitfit import BitFit
from kerasllm.training.parameter_efficient.bottleneck import BottleneckAdapters
from kerasllm.training.parameter_efficient.lora import LoRA
from kerasllm.training.parameter_efficient.method import METHODS, make_method
from kerasllm.training.parameter_efficient.parameters import ParameterCount, count_parameters
from kerasllm.training.parameter_efficient.prefix import PrefixTuning
from kerasllm.training.parameter_efficient.prompt import PromptTuning
from kerasllm.training.parameter_efficient.rank_allocation import RankAllocation

__all__ = [
    "METHODS",
    "AdaLoRA",
    "AdaptedModel",
    "BitFit",
    "BottleneckAdapters",
    "LoRA",
    "ParameterCount",
    "PrefixTuning",
    "PromptTuning",
    "RankAllocation",
    "count_parameters",
    "fingerprint",
    "load_adapter",
    "make_method",
    "save_adapter",
]
