"""What is timed on a GPU: each family forward and backward against PyTorch."""

from benchmarks.cuda.families.adamw import adamw
from benchmarks.cuda.families.attention import attention, decode_attention
from benchmarks.cuda.families.embedding import embedding
from benchmarks.cuda.families.gelu import gelu
from benchmarks.cuda.families.layer_norm import layer_norm
from benchmarks.cuda.families.linear_cross_entropy import linear_cross_entropy
from benchmarks.cuda.families.lstm import lstm

__all__ = [
    "adamw",
    "attention",
    "decode_attention",
    "embedding",
    "gelu",
    "layer_norm",
    "linear_cross_entropy",
    "lstm",
]
