"""Attention from query, key and value to outputs, against keras.ops.dot_product_attention, which is
what keras.layers.MultiHeadAttention computes: einsum, softmax, einsum.

Stock is measured with jit off, which is Keras's default on a CPU, and on.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from benchmarks import measure
from kerasllm.ops.attention import attention

STOCK = "stock"
# (batch, query_length, key_length, num_heads, head_dim), and which keys are seen.
SHAPES = [
    ((16, 512, 512, 12, 64), "full"),
    ((16, 512, 512, 12, 64), "causal"),
    ((16, 512, 512, 12, 64), "padded"),
    ((64, 128, 128, 4, 64), "full"),
    ((64, 128, 128, 4, 32), "full"),
    ((8, 256, 256, 8, 128), "causal"),
    ((1, 2048, 2048, 12, 64), "causal"),
    ((1, 16, 16, 4, 64), "full"),
    ((8, 1, 1024, 12, 64), "full"),
]
MEMORY_LENGTH = 8192


def make_inputs(sizes, dtype):
    """Query, key, value and the gradient of the outputs."""
    batch, query_length, key_length, heads, dim = sizes
    random = np.random.default_rng(0)
    lengths = [query_length, key_length, key_length, query_length]
    return [
        tf.cast(random.normal(size=(batch, length, heads, dim)).astype("float32"), dtype)
        for length in lengths
    ]


def make_options(sizes, seen):
    """What stock and ours are called with; padding is a third of the keys."""
    if seen != "padded":
        return {"is_causal": seen == "causal"}, {"causal": seen == "causal"}
    lengths = np.random.default_rng(1).integers(sizes[2] // 3, sizes[2] + 1, (sizes[0], 1, 1, 1))
    mask = tf.constant(np.arange(sizes[2]) < lengths)
    return {"mask": mask}, {"mask": mask}


def with_gradients(function):
    def gradients(query, key, value, d_outputs):
        with tf.GradientTape() as tape:
            tape.watch([query, key, value])
            outputs = function(query, key, value)
        found = tape.gradient(outputs, [query, key, value], output_gradients=d_outputs)
        return [outputs, *found]

    return gradients


def variants(sizes, seen, dtype):
    """name -> (forward, forward and backward), functions of query, key, value (and d_outputs)."""
    stock_options, our_options = make_options(sizes, seen)

    def stock(query, key, value):
        return keras.ops.dot_product_attention(query, key, value, **stock_options)

    def ours(query, key, value):
        return attention(query, key, value, **our_options)

    suffix = "" if dtype == "float32" else " bfloat16"
    return {
        f"{who}{' jit' if jit else ''}{suffix}": tuple(
            tf.function(f, jit_compile=jit) for f in (function, with_gradients(function))
        )
        for who, function, jit in [
            (STOCK, stock, False),
            (STOCK, stock, True),
            ("ours", ours, False),
            ("ours", ours, True),
        ]
    }


def check_equality(functions, inputs, dtype):
    """The thing timed is the thing checked: outputs and gradients agree within the dtype's
    error."""
    limit = 1e-4 if dtype == "float32" else 0.1
    results = {name: both(*inputs) for name, (_, both) in functions.items()}
    reference = next(iter(results.values()))
    for name, found in results.items():
        for mine, other in zip(found, reference, strict=True):
            mine, other = (tf.cast(tensor, tf.float32).numpy() for tensor in (mine, other))
            difference = np.abs(mine - other).max() / max(1.0, np.abs(other).max())
            if not difference <= limit:
                raise AssertionError(f"{name} differs from stock by {difference}, limit {limit}")


def call(function, inputs):
    return lambda: tf.nest.flatten(function(*inputs))[0].numpy()


def measure_shape(sizes, seen, repeats):
    batch, query_length, key_length, heads, dim = sizes
    flops = 4 * batch * query_length * key_length * heads * dim / (2 if seen == "causal" else 1)
    length = query_length if query_length == key_length else f"{query_length}/{key_length}"
    shape = f"{batch}x{heads}x{length}x{dim} {seen}"
    rows = []
    for dtype in ("float32", "bfloat16"):
        functions, inputs = variants(sizes, seen, dtype), make_inputs(sizes, dtype)
        check_equality(functions, inputs, dtype)
        baseline = next(iter(functions))
        dtypes = dict.fromkeys(functions, dtype)
        for work, index, factor in [("forward", 0, 1), ("forward+backward", 1, 3.5)]:
            tensors = inputs[: 3 + index]
            calls = {name: call(pair[index], tensors) for name, pair in functions.items()}
            times = measure.interleave(calls, repeats)
            rows += measure.rows(work, shape, times, dtypes, baseline, factor * flops)
    return rows


def memory_rows(length):
    """Peak memory of forward and backward of one sequence of 4 heads of 64."""
    rows = []
    for who in (STOCK, "ours"):
        peak = measure.peak_memory("benchmarks.attention", who, length)
        row = measure.Row("peak memory", f"1x4x{length}x64 full", who, "float32", 0, 0, 0)
        row.peak_mb = peak
        rows.append(row)
    return rows


def print_peak_memory(who, length):
    """Prints by how many megabytes forward and backward raise this process's peak memory."""
    small, sizes = (1, 8, 8, 4, 64), (1, length, length, 4, 64)
    _, function = variants(sizes, "full", "float32")[who]
    function(*make_inputs(small, "float32"))
    inputs = make_inputs(sizes, "float32")
    with measure.peak_of_this_process() as peak:
        function(*inputs)[1].numpy()
    print(peak["megabytes"])


def run(quick=False):
    for sizes, seen in SHAPES[:1] if quick else SHAPES:
        yield measure_shape(sizes, seen, repeats=3 if quick else 9)
    yield memory_rows(1024 if quick else MEMORY_LENGTH)


if __name__ == "__main__":
    print_peak_memory(sys.argv[1], int(sys.argv[2]))
