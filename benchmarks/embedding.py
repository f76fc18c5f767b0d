"""The embedding layer, forward and backward, against keras.layers.Embedding.

The gradient is asked for as a dense tensor, which is what Keras's optimizers turn stock's slices
into. GB/s count what must be moved: forward the rows read and the outputs written; backward the
outputs' gradient read and the table's gradient written.
"""

import keras
import numpy as np
import tensorflow as tf

import kerasllm
from benchmarks import measure

BATCH, TIME = 64, 128
# (vocabulary, width)
SHAPES = [(10_000, 128), (21_128, 256)]
STOCK = "stock"
CALLS = 10  # timed together: from rest a single one is mostly the waking of threads


def build(layer_class, vocabulary, width, policy):
    layer = layer_class(vocabulary, width, dtype=policy)
    layer.build()
    layer.embeddings.assign(np.random.default_rng(0).normal(size=(vocabulary, width)))
    return layer


def functions(layer, token_ids, d_outputs, jit_compile):
    """work -> function that does it; what comes back is ready when it does."""
    table = layer.embeddings.value

    @tf.function(jit_compile=jit_compile)
    def forward(ids):
        return layer(ids)

    @tf.function(jit_compile=jit_compile)
    def both(ids, gradient):
        with tf.GradientTape() as tape:
            outputs = layer(ids)
        return tf.convert_to_tensor(tape.gradient(outputs, table, gradient))

    d_outputs = tf.cast(d_outputs, layer.compute_dtype)
    return {
        "forward": lambda: forward(token_ids),
        "forward+backward": lambda: both(token_ids, d_outputs),
    }


def measure_shape(vocabulary, width, repeats):
    random = np.random.default_rng(1)
    # Word frequencies as in text: Zipf's law, and padding.
    token_ids = tf.constant(random.zipf(1.2, (BATCH, TIME)) % vocabulary, tf.int32)
    d_outputs = random.normal(size=(BATCH, TIME, width)).astype("float32")
    mixed = "mixed_bfloat16"
    layers = {
        STOCK: (keras.layers.Embedding, "float32", False),
        "stock jit": (keras.layers.Embedding, "float32", True),
        "ours": (kerasllm.layers.Embedding, "float32", False),
        "ours jit": (kerasllm.layers.Embedding, "float32", True),
        "stock mixed": (keras.layers.Embedding, mixed, False),
        "ours mixed": (kerasllm.layers.Embedding, mixed, False),
    }
    dtypes = {name: policy for name, (_, policy, _) in layers.items()}
    variants = {
        name: functions(
            build(layer_class, vocabulary, width, policy), token_ids, d_outputs, jit_compile
        )
        for name, (layer_class, policy, jit_compile) in layers.items()
    }
    rows = []
    for work in variants[STOCK]:
        expected = np.array(variants[STOCK][work]())
        for name, found in variants.items():
            difference = np.abs(np.array(found[work]()).astype("float32") - expected).max()
            limit = 1e-5 if dtypes[name] == "float32" else 1e-2
            if not difference <= limit * np.abs(expected).max():
                raise AssertionError(f"{name} differs from stock by {difference} in {work}")
        works = {name: found[work] for name, found in variants.items()}
        times = measure.interleave_calls(works, CALLS, repeats)
        shape = f"{BATCH} x {TIME}, {vocabulary} x {width}"
        found = measure.rows(work, shape, times, dtypes, STOCK)
        for row in found:
            element = 4 if row.dtype == "float32" else 2
            size = BATCH * TIME * width * (4 + element)
            if work != "forward":
                size += BATCH * TIME * width * element + vocabulary * width * 4
            row.gbytes = size / row.p50 / 1e6
        rows += found
    return rows


def run(quick=False):
    rows = []
    for vocabulary, width in SHAPES:
        rows += measure_shape(vocabulary, width, repeats=9 if quick else 41)
    return rows
