"""One function a family, on any Keras backend: the fused op on TensorFlow where it serves, else the
same maths in keras.ops."""

from kerasllm.ops.lstm import lstm

__all__ = ["lstm"]
