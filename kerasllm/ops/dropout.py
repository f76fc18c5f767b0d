"""Dropout whose mask follows from the seed alone, on any backend."""

from keras import ops

from kerasllm.ops.dispatch import served
from kerasllm.ops.random import dropout_factors


def dropout(inputs, rate, seed):
    """Inverted dropout; equal seeds drop the same elements of equal shapes.

    On TensorFlow, in float32 and bfloat16, one fused op, `kerasllm_ops.dropout`; elsewhere the same
    random numbers in keras.ops.

    Args:
        inputs: `(..., dim)`.
        rate: The share of elements dropped, a float in `[0, 1)`, taken to the nearest 1/65536.
        seed: int32 `(2,)`, as `kerasllm.ops.draw_seed` gives it.

    Returns:
        `inputs / (1 - rate)` where kept, else zero; shape and dtype of `inputs`.
    """
    if rate == 0:
        return inputs
    if served("dropout", inputs.dtype):
        from kerasllm_ops.dropout import dropout as fused

        return fused(inputs, rate, seed)
    return composed_dropout(inputs, rate, seed)


def composed_dropout(inputs, rate, seed):
    """`dropout` in keras.ops; the arguments and the result are the same."""
    factors = dropout_factors(seed, ops.shape(inputs), rate)
    return inputs * ops.cast(factors, inputs.dtype)
