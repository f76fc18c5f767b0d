"""kerasllm.ops.layer_norm: composed against Keras in float64, fused against composed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.ops.dropout import composed_dropout
from kerasllm.ops.layer_norm import composed_layer_norm, layer_norm

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
SEED = tf.constant([-559038737, 12345], tf.int32)


def arguments(shape, dtype="float64", seed=0):
    random = np.random.default_rng(seed)
    inputs, residual = (tf.constant(random.normal(size=shape), dtype) for _ in range(2))
    wide = "float64" if dtype == "float64" else "float32"
    gamma, beta = (tf.constant(random.normal(size=shape[-1:]), wide) for _ in range(2))
    return inputs, residual, gamma, beta


def test_composed_is_keras():
    inputs, residual, gamma, beta = arguments((3, 5, 7))
    found = composed_layer_norm(inputs, gamma, beta, epsilon=1e-3)
    expected = keras.ops.layer_normalization(inputs, gamma, beta, epsilon=1e-3)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    found = composed_layer_norm(inputs, gamma, rms=True)
    expected = keras.ops.rms_normalization(inputs, gamma, epsilon=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    outputs, total = composed_layer_norm(
        inputs, gamma, beta, residual=residual, dropout_rate=0.3, seed=SEED
    )
    np.testing.assert_array_equal(total, residual + composed_dropout(inputs, 0.3, SEED))
    expected = keras.ops.layer_normalization(total, gamma, beta, epsilon=1e-6)
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rms", [False, True])
def test_composed_gradients_by_finite_differences(rms):
    def loss(inputs, residual, gamma, beta):
        outputs, total = composed_layer_norm(inputs, gamma, beta, 1e-3, rms, residual, 0.3, SEED)
        return tf.reduce_sum(tf.sin(outputs) + total * total)

    theory, numeric = tf.test.compute_gradient(loss, arguments((3, 5)), delta=1e-5)
    for a, b in zip(theory, numeric, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def results_and_gradients(function, tensors, **options):
    inputs, residual, gamma, beta = tensors
    watched = [t for t in tensors if t is not None]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        results = tf.nest.flatten(function(inputs, gamma, beta, residual=residual, **options))
        loss = tf.add_n([tf.reduce_sum(tf.square(r)) for r in results])
    return [*results, *tape.gradient(loss, watched)]


OPTIONS = [
    {"rms": rms, "dropout_rate": rate, "seed": SEED, "return_sum": both}
    for rms in (False, True)
    for rate in (0.0, 0.3)
    for both in (False, True)
]


@needs_native
@pytest.mark.parametrize("shape", [(1, 1), (59,), (2, 3, 97), (7, 1025), (65, 64)])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("absent", [(), (1,), (2, 3), (1, 2, 3)])
def test_fused_is_composed(shape, options, absent):
    tensors = [None if i in absent else t for i, t in enumerate(arguments(shape, "float32"))]
    exact = [None if t is None else tf.cast(t, "float64") for t in tensors]
    fused = results_and_gradients(layer_norm, tensors, epsilon=1e-3, **options)
    composed = results_and_gradients(composed_layer_norm, exact, epsilon=1e-3, **options)
    for mine, other in zip(fused, composed, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_the_error_is_at_most_twice_keras_own(dtype, mean):
    random = np.random.default_rng(1)
    inputs = tf.cast(random.normal(mean, 1, (64, 768)), dtype)
    d_outputs = tf.cast(random.normal(size=(64, 768)), dtype)
    gamma, beta = (tf.constant(random.normal(size=768), "float32") for _ in range(2))

    def run(function, *tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs = function(*tensors)
        gradients = tape.gradient(outputs, tensors, tf.cast(d_outputs, outputs.dtype))
        return [np.array(tf.cast(t, "float64")) for t in (outputs, *gradients)]

    def stock(x, g, b):
        return keras.ops.layer_normalization(x, g, b, epsilon=1e-6)

    exact = run(stock, *[tf.cast(t, "float64") for t in (inputs, gamma, beta)])
    results = zip(
        run(layer_norm, inputs, gamma, beta), run(stock, inputs, gamma, beta), exact, strict=True
    )
    for mine, theirs, expected in results:
        error, stocks = np.abs(mine - expected).max(), np.abs(theirs - expected).max()
        assert error <= 2 * stocks + 1e-6 * np.abs(expected).max()


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_compiled_gives_the_same_bits(options, alone, jit_compile, dtype):
    tensors = arguments((3, 5, 37), dtype)
    if alone:
        tensors = (tensors[0], None, *tensors[2:])
    present = [t for t in tensors if t is not None]

    def function(*present):
        remaining = iter(present)
        tensors = [None if alone and i == 1 else next(remaining) for i in range(4)]
        return results_and_gradients(layer_norm, tensors, **options)

    compiled = tf.function(function, jit_compile=jit_compile)(*present)
    for mine, other in zip(compiled, function(*present), strict=True):
        np.testing.assert_array_equal(mine, other)


@needs_native
def test_unknown_sizes_in_a_graph_and_empty_tensors():
    specs = [tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None, 4)), tf.TensorSpec((4,))]

    @tf.function(input_signature=specs)
    def function(inputs, residual, gamma):
        with tf.GradientTape() as tape:
            tape.watch(gamma)
            outputs, total = layer_norm(inputs, gamma, residual=residual)
        assert outputs.shape.as_list() == total.shape.as_list() == [None, None, 4]
        return outputs, tape.gradient(outputs, gamma)

    outputs, gradient = function(tf.zeros((0, 3, 4)), tf.zeros((0, 3, 4)), tf.ones(4))
    assert outputs.shape == (0, 3, 4)
    np.testing.assert_array_equal(gradient, np.zeros(4))
    assert function(tf.ones((2, 3, 4)), tf.ones((2, 3, 4)), tf.ones(4))[0].shape == (2, 3, 4)
    assert layer_norm(tf.zeros((3, 0))).shape == (3, 0)


@needs_native
def test_a_nan_stays_in_its_row():
    inputs = np.ones((3, 40), "float32")
    inputs[1, 39] = np.nan
    assert np.isnan(layer_norm(tf.constant(inputs))).all(axis=1).tolist() == [False, True, False]


@needs_native
def test_what_does_not_fit_is_refused():
    from kerasllm_ops.layer_norm import layer_norm as op

    errors = (tf.errors.InvalidArgumentError, ValueError)
    x = tf.ones((2, 4))
    with pytest.raises(errors, match=r"gamma has shape \[3\], expected \[4\]|Dimension"):
        op(x, gamma=tf.ones(3))
    with pytest.raises(errors, match=r"beta has shape \[2,2\]|rank"):
        op(x, beta=tf.ones((2, 2)))
    with pytest.raises(errors, match=r"residual has shape \[4,4\], expected \[2,4\]|Dimension"):
        op(x, residual=tf.ones((4, 4)))
    with pytest.raises(errors, match=r"inputs is a scalar|rank"):
        op(tf.constant(1.0))
    with pytest.raises(errors, match="rate is 1, expected at least 0 and below 1"):
        op(x, dropout_rate=1.0, seed=SEED)
    with pytest.raises(ValueError, match="seed is None"):
        layer_norm(x, dropout_rate=0.5)


@needs_native
def test_a_second_derivative_is_refused():
    x = tf.random.normal((2, 4))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(layer_norm(x) ** 2)
        gradient = inner.gradient(y, x)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        outer.gradient(gradient, x)


@needs_native
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_results_larger_than_the_caches_have_the_bits_of_small_ones(rate):
    """The kernel writes them past the caches."""
    rows, dim = 4200, 1024  # above 16 MiB
    random = np.random.default_rng(3)
    inputs, residual, d_outputs = (
        tf.constant(random.normal(size=(rows, dim)), "float32") for _ in range(3)
    )
    gamma, beta = (tf.constant(random.normal(size=dim), "float32") for _ in range(2))

    def results(count):
        tensors = inputs[:count], residual[:count]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs, total = layer_norm(
                tensors[0],
                gamma,
                beta,
                residual=tensors[1],
                dropout_rate=rate,
                seed=tf.constant([1, 2]) if rate else None,
            )
            loss = tf.reduce_sum(outputs * d_outputs[:count])
        return [outputs, total, *tape.gradient(loss, tensors)]

    for whole, part in zip(results(rows), results(rows // 3), strict=True):
        np.testing.assert_array_equal(whole[: rows // 3], part)
