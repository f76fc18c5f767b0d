"""When a fused op serves."""

import contextlib
import contextvars
import functools

import keras

from kerasllm import native

DTYPES = ("float32", "bfloat16")

# Families with GPU kernels. On a machine with a GPU the others are left to Keras, which has cuDNN.
GPU_FAMILIES = frozenset()

_composed = contextvars.ContextVar("kerasllm_composed", default=False)


@contextlib.contextmanager
def composed_only():
    """Inside of it no fused op serves: what is traced has only ops of Keras's backend."""
    token = _composed.set(True)
    try:
        yield
    finally:
        _composed.reset(token)


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
    return why_not_served(family, dtype) is None


def why_not_served(family, dtype):
    """Why the fused op of a family does not take tensors of this dtype here, as a sentence; None
    where it does. The arguments are those of `served`."""
    if _composed.get():
        return "only composed ops are asked for"
    if not native.in_use():
        return "the native library is not in use"
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype not in DTYPES:
        return f"its dtype is {dtype}; the ops take {' and '.join(DTYPES)}"
    if family not in GPU_FAMILIES and _has_gpu():
        return "there is a GPU, for which the op has no kernel yet"
    return None
