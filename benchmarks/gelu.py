"""Bias and activation, forward and backward, against Keras's addition and activation.

Stock is measured with jit off, which is Keras's default on a CPU, and on. All variants return the
outputs and every gradient. GB/s counts what must be read and written once.
"""

import keras
import numpy as np
import tensorflow as tf

import kerasllm
from benchmarks import measure
from benchmarks.layer_norm import compare

SHAPES = [(2048, 3072), (8192, 3072), (16, 256), (128, 1024)]  # rows, dim


def stock_gelu(inputs, bias):
    return keras.activations.gelu(inputs + tf.cast(bias, inputs.dtype))


def stock_swiglu(inputs, bias):
    gate, value = tf.split(inputs + tf.cast(bias, inputs.dtype), 2, axis=-1)
    return keras.activations.silu(gate) * value


def ours_gelu(inputs, bias):
    return kerasllm.ops.gelu(inputs, bias)


def ours_swiglu(inputs, bias):
    return kerasllm.ops.gelu(inputs, bias, kind="silu", gated=True)


# name -> (stock, ours, columns of inputs by those of outputs)
WORKS = {
    "bias + GELU": (stock_gelu, ours_gelu, 1),
    "bias + SwiGLU": (stock_swiglu, ours_swiglu, 2),
}


def run(quick=False):
    print(f"memory copy: {measure.copy_bandwidth():.1f} GB/s")
    random = np.random.default_rng(0)
    rows = []
    for work, (stock, ours, multiple) in WORKS.items():
        for count, dim in SHAPES[2:] if quick else SHAPES:
            for dtype in ("float32", "bfloat16"):
                inputs = tf.cast(random.normal(size=(count, multiple * dim)), dtype)
                d_outputs = tf.cast(random.normal(size=(count, dim)), dtype)
                bias = tf.constant(random.normal(size=multiple * dim), "float32")
                rows += compare(
                    work,
                    f"{count} x {dim}",
                    (stock, ours),
                    (inputs, bias),
                    d_outputs,
                    repeats=5 if quick else 15,
                    # Forward inputs and outputs, backward both gradients and inputs.
                    size_bytes=(3 * multiple + 2) * count * dim * inputs.dtype.size,
                )
    return rows
