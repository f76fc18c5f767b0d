"""One function a family, on any Keras backend: the fused op on TensorFlow where it serves, else the
same maths in keras.ops."""

from kerasllm.ops.attention import attention
from kerasllm.ops.dropout import dropout
from kerasllm.ops.lstm import lstm
from kerasllm.ops.random import draw_seed

__all__ = [
    "attention",
    "draw_seed",
    "dropout",
    "lstm",
]
