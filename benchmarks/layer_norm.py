"""Residual sum and layer normalisation, forward and backward, against Keras's addition and layer.

Stock is measured with jit off, which is Keras's default on a CPU, and on. All variants return the
outputs and every gradient. GB/s counts what must be read and written once: forward two tensors and
two, backward two and one.
"""

import keras
import numpy as np
import tensorflow as tf

import kerasllm
from benchmarks import measure

SHAPES = [(2048, 768), (8192, 768), (16, 64), (128, 256)]  # rows, dim
TENSORS = 7
STOCK = "stock"


def gradient_function(function, tensors, d_outputs, jit_compile):
    """Outputs and gradients of function(*tensors) in one call."""

    def call(d_outputs, *tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs = function(*tensors)
        return outputs, *tape.gradient(outputs, tensors, output_gradients=d_outputs)

    compiled = tf.function(call, jit_compile=jit_compile)
    return lambda: compiled(d_outputs, *tensors)


def check_equality(functions, dtype):
    """The thing timed is the thing checked."""
    limit = 3e-6 if dtype == "float32" else 2e-2
    reference = [tf.cast(t, "float32").numpy() for t in functions[STOCK]()]
    for name, function in functions.items():
        for found, expected in zip(function(), reference, strict=True):
            error = np.abs(tf.cast(found, "float32") - expected).max() / np.abs(expected).max()
            if not error <= limit:
                raise AssertionError(f"{name} differs from stock by {error}, limit {limit}")


def stock(inputs, residual, gamma, beta):
    return keras.ops.layer_normalization(inputs + residual, gamma, beta, epsilon=1e-5)


def ours(inputs, residual, gamma, beta):
    return kerasllm.ops.layer_norm(
        inputs, gamma, beta, epsilon=1e-5, residual=residual, return_sum=False
    )


def compare(work, shape_text, pair, tensors, d_outputs, repeats, size_bytes=None, flops=None):
    """Rows of stock and ours, jit off and on, of one work."""
    dtype = d_outputs.dtype.name
    functions = {
        name + (" jit" if jit_compile else ""): gradient_function(
            function, tensors, d_outputs, jit_compile
        )
        for jit_compile in (False, True)
        for name, function in zip((STOCK, "ours"), pair, strict=True)
    }
    check_equality(functions, dtype)
    times = measure.interleave(functions, repeats)
    dtypes = dict.fromkeys(functions, dtype)
    return measure.rows(work, shape_text, times, dtypes, STOCK, flops, size_bytes)


def run(quick=False):
    print(f"memory copy: {measure.copy_bandwidth():.1f} GB/s")
    random = np.random.default_rng(0)
    rows = []
    for count, dim in SHAPES[2:] if quick else SHAPES:
        for dtype in ("float32", "bfloat16"):
            inputs, residual, d_outputs = (
                tf.cast(random.normal(size=(count, dim)), dtype) for _ in range(3)
            )
            gamma, beta = (tf.constant(random.normal(size=dim), "float32") for _ in range(2))
            rows += compare(
                "forward+backward",
                f"{count} x {dim}",
                (stock, ours),
                (inputs, residual, gamma, beta),
                d_outputs,
                repeats=5 if quick else 21,
                size_bytes=TENSORS * count * dim * inputs.dtype.size,
            )
    return rows
