"""A language model's last layer and its loss, against keras.layers.Dense and Keras's loss.

Both are measured with jit off, which is Keras's default on a CPU, and on; ratios are to the faster
of Keras's two in the same dtype. Weights are float32 and, under mixed_bfloat16, cast by the layers.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import kerasllm
from benchmarks import measure

# (rows, dim, vocabulary, share of rows whose label counts).
SHAPES = [
    (2048, 256, 21128, 1.0),
    (2048, 256, 21128, 0.15),
    (1024, 768, 21128, 1.0),
    (64, 64, 1000, 1.0),
]
MEMORY_SHAPE = (16384, 256, 21128)
POLICIES = ("float32", "mixed_bfloat16")
IGNORED = -100


def stock_losses(dim, vocabulary, policy):
    """A function of hidden states and labels that returns the loss, and its layer."""
    layer = keras.layers.Dense(vocabulary, dtype=policy)
    layer.build((None, dim))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED)
    plain_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def mean_loss(hidden_states, labels, all_count, training):
        del training
        return (plain_loss if all_count else loss)(labels, layer(hidden_states))

    return mean_loss, layer


def our_losses(dim, vocabulary, policy):
    """The same of ours."""
    layer = kerasllm.layers.LinearCrossEntropy(vocabulary, dtype=policy)
    layer.build((None, dim))

    def mean_loss(hidden_states, labels, all_count, training):
        del all_count
        losses, _ = layer(hidden_states, labels, training=training)
        count = keras.ops.sum(keras.ops.cast(labels != IGNORED, losses.dtype))
        return keras.ops.sum(losses) / count

    return mean_loss, layer


def data(rows, dim, vocabulary, share):
    random = np.random.default_rng(0)
    hidden_states = tf.constant(random.normal(size=(rows, dim)), tf.float32)
    labels = random.integers(0, vocabulary, rows)
    labels[random.permutation(rows)[: round(rows * (1 - share))]] = IGNORED
    return hidden_states, tf.constant(labels, tf.int32)


def variants(rows, dim, vocabulary, share, policy):
    """work -> name -> function without arguments that returns numbers of all results."""
    hidden_states, labels = data(rows, dim, vocabulary, share)
    hidden_states = tf.cast(hidden_states, keras.DTypePolicy(policy).compute_dtype)
    all_count = share == 1.0
    keras.utils.set_random_seed(7)
    kernel = np.random.default_rng(1).normal(0, dim**-0.5, (vocabulary, dim)).astype("float32")
    works = {"forward": {}, "forward+backward": {}}
    for who, make in (("stock", stock_losses), ("ours", our_losses)):
        mean_loss, layer = make(dim, vocabulary, policy)
        layer.set_weights([kernel.T if who == "stock" else kernel, np.zeros(vocabulary)])

        def forward(x, ids, mean_loss=mean_loss):
            return mean_loss(x, ids, all_count, False)

        def backward(x, ids, mean_loss=mean_loss, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = mean_loss(x, ids, all_count, True)
            d_x, d_kernel, d_bias = tape.gradient(loss, [x, *layer.trainable_variables])
            # One element of each is enough to wait for all of it.
            return tf.stack([loss, tf.cast(d_x[0, 0], tf.float32), d_kernel[0, 0], d_bias[0]])

        for jit_compile in (False, True):
            name = f"{who} jit" if jit_compile else who
            for work, function in (("forward", forward), ("forward+backward", backward)):
                compiled = tf.function(function, jit_compile=jit_compile)
                works[work][name] = lambda f=compiled: f(hidden_states, labels).numpy()
    return works


def check_equality(functions, policy):
    """The thing timed is the thing checked: losses and gradients agree within the dtype's error."""
    reference = functions["stock"]()
    for name, function in functions.items():
        limit = 1e-4 if policy == "float32" else 3e-2
        np.testing.assert_allclose(function(), reference, rtol=limit, atol=limit, err_msg=name)


def measure_shape(rows, dim, vocabulary, share, repeats):
    shape = f"{rows} x {dim} x {vocabulary}" + ("" if share == 1.0 else f", {share:.0%}")
    result = []
    for policy in POLICIES:
        for work, functions in variants(rows, dim, vocabulary, share, policy).items():
            check_equality(functions, policy)
            times = measure.interleave(functions, repeats)
            best = min(("stock", "stock jit"), key=lambda name: np.median(times[name]))
            passes = 1 if work == "forward" else 3
            flops = passes * 2 * rows * share * dim * vocabulary
            dtypes = dict.fromkeys(times, policy)
            result += measure.rows(work, shape, times, dtypes, best, flops)
    return result


def memory_rows():
    """Forward and backward of many rows: times, and peak memory in a process of its own each."""
    result = []
    shape = " x ".join(map(str, MEMORY_SHAPE))
    for policy in POLICIES:
        functions = variants(*MEMORY_SHAPE, 1.0, policy)["forward+backward"]
        functions = {who: functions[who] for who in ("stock", "ours")}
        times = measure.interleave(functions, repeats=3, warmup=1)
        flops = 3 * 2 * np.prod(MEMORY_SHAPE, dtype=float)
        dtypes = dict.fromkeys(times, policy)
        rows = measure.rows("forward+backward", shape, times, dtypes, "stock", flops)
        for row in rows:
            row.peak_mb = measure.peak_memory(
                "benchmarks.linear_cross_entropy", row.who, policy, *MEMORY_SHAPE
            )
        result += rows
    return result


def print_peak_memory(who, policy, rows, dim, vocabulary):
    """Prints by how many megabytes three passes raise this process's peak memory."""
    make = {"stock": stock_losses, "ours": our_losses}[who]
    mean_loss, layer = make(dim, vocabulary, policy)
    hidden_states, labels = data(rows, dim, vocabulary, 1.0)

    @tf.function
    def gradients(x, ids):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = mean_loss(x, ids, True, True)
        return tape.gradient(loss, [x, *layer.trainable_variables])

    gradients(hidden_states[:1], labels[:1])
    with measure.peak_of_this_process() as peak:
        for _ in range(3):
            gradients(hidden_states, labels)
    print(peak["megabytes"])


def run(quick=False):
    for shape in SHAPES[:1] if quick else SHAPES:
        yield measure_shape(*shape, repeats=5 if quick else 11)
    if not quick:
        yield memory_rows()


if __name__ == "__main__":
    print_peak_memory(*sys.argv[1:3], *map(int, sys.argv[3:6]))
