"""Every op on the GPU against the CPU: results, gradients, dropout's masks, graphs and jit_compile;
and no tensor is copied to the CPU for an op that the GPU has no kernel for.

The same functions run on the CPU alone where there is no GPU.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasllm
from kerasllm import native

SEED = tf.constant([-559038737, 12345], tf.int32)
TOLERANCES = {"float32": 2e-5, "bfloat16": 3e-2, "float16": 4e-3}

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")


@pytest.fixture(params=["CPU", "GPU"])
def where(request):
    if request.param == "GPU" and not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU here")
    return f"/{request.param}:0"


def normal(*shape, scale=1.0):
    return np.random.default_rng(sum(shape)).normal(scale=scale, size=shape)


def layer_norm(inputs, residual, gamma, beta):
    return kerasllm.ops.layer_norm(
        inputs, gamma, beta, residual=residual, dropout_rate=0.3, seed=SEED
    )


def gelu(inputs, bias):
    return kerasllm.ops.gelu(inputs, bias, kind="erf", gated=True)


def feed_forward(*tensors):
    return kerasllm.ops.feed_forward(*tensors, kind="silu", gated=True, training=True)


def embedding(tokens, positions, segments):
    return kerasllm.ops.embedding(
        tf.constant([[0, 3, 3], [1, 0, 2]]),
        tokens,
        positions,
        tf.constant([[0, 0, 1], [1, 0, 0]]),
        segments,
        start=1,
    )


def lstm(inputs, hidden, cell, kernel, recurrent_kernel, bias):
    mask = tf.constant([[True, True, False, True], [False, True, True, False]])
    return kerasllm.ops.lstm(
        inputs, hidden, cell, kernel, recurrent_kernel, bias, mask=mask, training=True
    )


def attention(query, key, value):
    return kerasllm.ops.attention(
        query, key, value, lengths=tf.constant([5, 3]), causal=True, dropout_rate=0.2, seed=SEED
    )


def linear_cross_entropy(hidden_states, kernel, bias):
    labels = tf.constant([[1, -100, 4], [0, 2, 2]])
    return kerasllm.ops.linear_cross_entropy(
        hidden_states, kernel, labels, bias, label_smoothing=0.1, z_loss=1e-3, training=True
    )[0]


CASES = {
    "attention": (attention, [(2, 5, 4, 16), (2, 5, 2, 16), (2, 5, 2, 16)]),
    "dense": (kerasllm.ops.dense, [(33, 7), (7, 9), (9,)]),
    "dropout": (lambda inputs: kerasllm.ops.dropout(inputs, 0.4, SEED), [(5, 37)]),
    "embedding": (embedding, [(4, 12), (6, 12), (2, 12)]),
    "feed_forward": (feed_forward, [(33, 7), (7, 10), (10,), (5, 9), (9,)]),
    "gelu": (gelu, [(3, 5, 32), (32,)]),
    "layer_norm": (layer_norm, [(3, 5, 40), (3, 5, 40), (40,), (40,)]),
    "linear_cross_entropy": (linear_cross_entropy, [(2, 3, 8), (5, 8), (5,)]),
    "lstm": (lstm, [(2, 4, 3), (2, 6), (2, 6), (3, 24), (6, 24), (24,)]),
}


def results_and_gradients(function, tensors):
    """The results, and the gradients of a sum that weighs every element differently."""
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        results = [r for r in tf.nest.flatten(function(*tensors)) if r.dtype.is_floating]
        loss = 0.0
        for result in results:
            weights = tf.reshape(tf.sin(tf.range(tf.size(result), dtype=tf.float32)), result.shape)
            loss += tf.reduce_sum(tf.cast(result, "float32") * weights)
    return [*results, *(tf.convert_to_tensor(g) for g in tape.gradient(loss, tensors))]


def make(name, dtype):
    function, shapes = CASES[name]
    tensors = [tf.cast(normal(*shape, scale=0.5), dtype) for shape in shapes]
    return function, tensors


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients_are_those_of_the_cpu(name, dtype, where):
    function, tensors = make(name, dtype)
    with tf.device("/CPU:0"):
        wide = [tf.cast(tensor, "float32") for tensor in tensors]
        expected = results_and_gradients(function, wide)
    with tf.device(where):
        found = results_and_gradients(function, [tf.identity(tensor) for tensor in tensors])
    for mine, reference in zip(found, expected, strict=True):
        assert where[1:] in mine.device, f"{name}: a result on {mine.device}"
        scale = max(1.0, np.abs(reference).max())
        difference = np.abs(tf.cast(mine, "float32").numpy() - reference.numpy()).max()
        assert difference <= TOLERANCES[dtype] * scale


@needs_native
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_graphs_and_jit_compile_give_the_same(name, dtype, jit_compile, where):
    function, tensors = make(name, dtype)
    with tf.device(where):
        eager = results_and_gradients(function, tensors)
        compiled = tf.function(
            lambda *tensors: results_and_gradients(function, tensors), jit_compile=jit_compile
        )(*tensors)
    for mine, reference in zip(compiled, eager, strict=True):
        scale = max(1.0, np.abs(tf.cast(reference, "float32")).max())
        difference = np.abs(tf.cast(mine, "float32") - tf.cast(reference, "float32")).max()
        assert difference <= TOLERANCES[dtype] * scale


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_drops_the_elements_that_the_cpu_drops(dtype, where):
    inputs = tf.cast(tf.ones((67, 129)), dtype)

    def run():
        _, total = kerasllm.ops.layer_norm(
            inputs, residual=tf.zeros_like(inputs), dropout_rate=0.3, seed=SEED
        )
        return kerasllm.ops.dropout(inputs, 0.3, SEED), total

    with tf.device("/CPU:0"):
        expected = run()
    with tf.device(where):
        found = run()
    for mine, reference in zip(found, expected, strict=True):
        np.testing.assert_array_equal(tf.cast(mine, "float32"), tf.cast(reference, "float32"))


@needs_native
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_of_adamw_has_the_bits_of_the_cpu(jit_compile, where):
    def run():
        groups = [[keras.Variable(normal(37, 11) ** 2), keras.Variable(normal(5))] for _ in "pmv"]
        rounded = [keras.Variable(groups[0][0], dtype="bfloat16"), None]
        gradients = [tf.cast(normal(37, 11), "float32"), tf.cast(normal(5), "float32")]

        @tf.function(jit_compile=jit_compile)
        def step(number):
            kerasllm.ops.adamw(*groups, gradients, 0.01, number, weight_decay=0.1, rounded=rounded)

        for number in (1, 2):
            step(tf.constant(number))
        return [tf.cast(v, "float32").numpy() for group in (*groups, rounded[:1]) for v in group]

    with tf.device("/CPU:0"):
        expected = run()
    with tf.device(where):
        found = run()
    for mine, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-6, atol=1e-7)


def test_on_a_gpu_an_id_without_a_row_gives_nan_and_no_gradient():
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU here")
    table = tf.ones((4, 3))
    with tf.device("/GPU:0"), tf.GradientTape() as tape:
        tape.watch(table)
        outputs = kerasllm.ops.embedding(tf.constant([[0, 4, -1, 3]]), table)
    assert np.isnan(outputs).any(-1).tolist() == [[False, True, True, False]]
    gradient = tape.gradient(outputs, table, tf.ones_like(outputs))
    np.testing.assert_array_equal(gradient, [[1] * 3, [0] * 3, [0] * 3, [1] * 3])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_model_trains_as_on_the_cpu(jit_compile, where):
    def losses():
        keras.utils.set_random_seed(1)
        model = kerasllm.models.TransformerClassifier(
            50, 3, hidden_dim=16, num_layers=1, num_heads=2
        )
        model.compile(
            kerasllm.optimizers.AdamW(1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit_compile,
        )
        ids = np.random.default_rng(0).integers(1, 50, (16, 12)).astype("int32")
        history = model.fit(ids, ids[:, 0] % 3, batch_size=8, epochs=2, verbose=0, shuffle=False)
        return history.history["loss"]

    with tf.device("/CPU:0"):
        expected = losses()
    with tf.device(where):
        np.testing.assert_allclose(losses(), expected, rtol=2e-3)
