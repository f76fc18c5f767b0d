"""The LSTM layer, and the classifier Embedding-LSTM-Dense around it, against the same of Keras.

Both are measured with jit off, which is Keras's default on a CPU, and on.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import kerasllm
from benchmarks import measure

VOCABULARY = 10_000
# (batch, time, width), width being that of the embedding and of the LSTM.
MODEL_SHAPES = [(64, 128, 128), (1, 16, 128), (8, 512, 128), (64, 128, 32), (64, 128, 512)]
STOCK = "stock"


def build(package, width, policy, jit_compile):
    """Embedding, LSTM, Dense over two classes, compiled with Adam, of `package`: keras or kerasllm.

    The weights are the same for both and every policy.
    """
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            package.layers.Embedding(VOCABULARY, width, dtype=policy),
            package.layers.LSTM(width, dtype=policy),
            keras.layers.Dense(2, dtype="float32"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(package.optimizers.Adam(), loss, jit_compile=jit_compile)
    return model


def variants(width):
    """name -> (model, dtype policy)."""
    stock, ours = keras, kerasllm
    mixed = "mixed_bfloat16"
    return {
        STOCK: (build(stock, width, "float32", False), "float32"),
        "stock jit": (build(stock, width, "float32", True), "float32"),
        "ours": (build(ours, width, "float32", False), "float32"),
        "ours jit": (build(ours, width, "float32", True), "float32"),
        "stock mixed": (build(stock, width, mixed, False), mixed),
        "ours mixed": (build(ours, width, mixed, False), mixed),
    }


def predict_function(model, token_ids):
    function = tf.function(
        lambda ids: model(ids, training=False), jit_compile=bool(model.jit_compile)
    )
    return lambda: function(token_ids).numpy()


def gradient_function(model, token_ids, labels):
    """Forward and backward without the optimizer; a scalar comes back so that all is done."""

    def gradients(ids, classes):
        with tf.GradientTape() as tape:
            loss = model.loss(classes, model(ids, training=True))
        found = tape.gradient(loss, model.trainable_variables[1:])  # the LSTM and the dense layer
        return tf.add_n([tf.reduce_sum(tf.cast(g, tf.float32)) for g in found])

    function = tf.function(gradients, jit_compile=bool(model.jit_compile))
    return lambda: function(token_ids, labels).numpy()


def check_equality(models, token_ids):
    """The thing timed is the thing checked: logits agree within each dtype's error."""
    reference = models[STOCK][0](token_ids).numpy()
    for name, (model, policy) in models.items():
        difference = np.abs(model(token_ids).numpy() - reference).max()
        limit = 2e-6 if policy == "float32" else 3e-2
        if not difference <= limit:
            raise AssertionError(f"{name} differs from stock by {difference}, limit {limit}")


def measure_shape(batch, time, width, repeats):
    random = np.random.default_rng(0)
    token_ids = tf.constant(random.integers(1, VOCABULARY, (batch, time)), tf.int32)
    labels = tf.constant(random.integers(0, 2, batch))
    models = variants(width)
    check_equality(models, token_ids)
    dtypes = {name: policy for name, (_, policy) in models.items()}
    shape, forward_flops = f"{batch} x {time}, width {width}", 16 * batch * time * width * width
    works = {
        "predict": (1, lambda model: predict_function(model, token_ids)),
        "forward+backward": (3, lambda model: gradient_function(model, token_ids, labels)),
        "train step": (3, lambda model: lambda: model.train_on_batch(token_ids, labels)),
    }
    rows = []
    for work, (passes, make) in works.items():
        functions = {name: make(model) for name, (model, _) in models.items()}
        times = measure.interleave(functions, repeats)
        rows += measure.rows(work, shape, times, dtypes, STOCK, passes * forward_flops)
    return rows


def add_peak_memory(rows, batch, time, width):
    """Peak memory of a train step, of stock and ours."""
    for row in rows:
        if row.work == "train step" and "jit" not in row.who:
            owner = "kerasllm" if row.who.startswith("ours") else "keras"
            row.peak_mb = measure.peak_memory(
                "benchmarks.lstm", owner, row.dtype, batch, time, width
            )


def print_peak_memory(owner, policy, batch, time, width):
    """Prints by how many megabytes three train steps raise this process's peak memory."""
    model = build({"keras": keras, "kerasllm": kerasllm}[owner], width, policy, False)
    random = np.random.default_rng(0)
    model.train_on_batch(np.ones((1, 2), "int32"), np.zeros(1, "int32"))
    with measure.peak_of_this_process() as peak:
        for _ in range(3):
            model.train_on_batch(
                random.integers(1, VOCABULARY, (batch, time)), random.integers(0, 2, batch)
            )
    print(peak["megabytes"])


def run(quick=False):
    rows = []
    for batch, time, width in MODEL_SHAPES[:1] if quick else MODEL_SHAPES:
        shape_rows = measure_shape(batch, time, width, repeats=9 if quick else 11)
        if not quick:
            add_peak_memory(shape_rows, batch, time, width)
        rows += shape_rows
    return rows


if __name__ == "__main__":
    print_peak_memory(*sys.argv[1:3], *map(int, sys.argv[3:6]))
