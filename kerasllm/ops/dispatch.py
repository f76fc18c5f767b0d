"""When a fused op serves."""

import functools

import keras

from kerasllm import native

# Families with GPU kernels. On a machine with a GPU the others are left to Keras, which has cuDNN.
GPU_FAMILIES = frozenset()


@functools.cache
def _has_gpu():
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def served(family, dtype):
    """Whether the fused op of a family takes tensors of this dtype here.

    Args:
        family: The family's name, such as `"lstm"`.
        dtype: The tensors' dtype, such as `"float32"`.
    """
    if not native.in_use() or keras.backend.standardize_dtype(dtype) not in ("float32", "bfloat16"):
        return False
    return family in GPU_FAMILIES or not _has_gpu()
