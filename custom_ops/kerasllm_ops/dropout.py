"""Dropout with random bits by counter: the same seed drops the same elements on any device."""

import tensorflow as tf

from kerasllm_ops.loader import load, required_ops

# What the kernel takes.
DTYPES = ("float32", "bfloat16")


def dropout(inputs, rate, seed, name=None):
    """Inverted dropout (Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting, 2014).

    The random bits come from Philox4x32-10 (Salmon, Moraes, Dror and Shaw, Parallel Random Numbers:
    As Easy as 1, 2, 3, 2011), keyed with the seed and counted by row and column; nothing is stored
    for the gradient, which makes them again.

    Args:
        inputs: float32, bfloat16 or, on a GPU, float16, `(..., dim)`.
        rate: The share of elements dropped, a float in `[0, 1)`, taken to the nearest 1/65536.
        seed: int32 `(2,)`; equal seeds drop the same elements of equal shapes.
        name: The op's name.

    Returns:
        `inputs / (1 - rate)` where kept, else zero; shape and dtype of `inputs`.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If `rate` or the shape of `seed` is another.
    """
    return required_ops("dropout").kerasllm_dropout(inputs=inputs, seed=seed, rate=rate, name=name)


def _gradient(op, d_outputs):
    seed, rate = op.inputs[1], op.get_attr("rate")
    return [dropout(d_outputs, rate, seed), None]


if load().ops is not None:
    tf.RegisterGradient("KerasllmDropout")(_gradient)
