"""One function a family, on any Keras backend: the fused op on TensorFlow where it serves, else the
same maths in keras.ops."""

from kerasllm.ops.dropout import dropout
from kerasllm.ops.lstm import lstm
from kerasllm.ops.random import draw_seed, random_uniform

__all__ = [
    "draw_seed",
    "dropout",
    "lstm",
    "random_uniform",
]
