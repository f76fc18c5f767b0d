"""A transformer's feed-forward branch, forward and backward, against two of Keras's dense layers.

Both return the outputs and every gradient; stock is measured with jit off, which is Keras's default
on a CPU, and on. GFLOP/s counts the six products; `--quick` takes the small shapes alone.
"""

import keras
import numpy as np
import tensorflow as tf

import kerasllm
from benchmarks import measure
from benchmarks.layer_norm import check_equality, compare

# rows, input_dim, dim
SHAPES = [
    (64, 64, 256),
    (2048, 256, 1024),
    (8192, 256, 1024),
    (1024, 768, 3072),
    (512, 2048, 8192),
]


def stock(inputs, hidden_kernel, hidden_bias, output_kernel, output_bias):
    hidden = keras.ops.matmul(inputs, hidden_kernel) + keras.ops.cast(hidden_bias, inputs.dtype)
    activated = keras.ops.gelu(hidden, approximate=False)
    return keras.ops.matmul(activated, output_kernel) + keras.ops.cast(output_bias, inputs.dtype)


def ours(*tensors):
    return kerasllm.ops.feed_forward(*tensors, training=True)


def inference(work, shape_text, tensors, repeats, flops):
    """Rows of the forward pass alone, where nothing is kept for a backward pass."""
    dtype = tensors[0].dtype.name
    functions = {}
    for jit_compile in (False, True):
        for name, function in (("stock", stock), ("ours", kerasllm.ops.feed_forward)):
            compiled = tf.function(function, jit_compile=jit_compile)
            call = lambda compiled=compiled: [compiled(*tensors)]  # noqa: E731
            functions[name + (" jit" if jit_compile else "")] = call
    check_equality(functions, dtype)
    times = measure.interleave(functions, repeats)
    return measure.rows(work, shape_text, times, dict.fromkeys(functions, dtype), "stock", flops)


def run(quick=False):
    random = np.random.default_rng(0)
    rows = []
    for count, input_dim, dim in SHAPES[:1] if quick else SHAPES:
        for dtype in ("float32", "bfloat16"):
            sizes = [
                ((count, input_dim), 1.0),
                ((input_dim, dim), input_dim**-0.5),
                ((dim,), 0.1),
                ((dim, input_dim), dim**-0.5),
                ((input_dim,), 0.1),
            ]
            tensors = [
                tf.cast(random.normal(0, scale, size), "float32" if len(size) == 1 else dtype)
                for size, scale in sizes
            ]
            d_outputs = tf.cast(random.normal(size=(count, input_dim)), dtype)
            text = f"{count} x {input_dim} x {dim}"
            flops, repeats = 4 * count * input_dim * dim, 5 if quick else 15
            rows += inference("forward", text, tensors, repeats, flops)
            rows += compare(
                "forward+backward",
                text,
                (stock, ours),
                tensors,
                d_outputs,
                repeats=repeats,
                flops=3 * flops,
            )
    return rows
