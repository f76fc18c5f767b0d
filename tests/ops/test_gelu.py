"""kerasllm.ops.gelu: composed against float64 formulas, fused against composed."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.ops.gelu import composed_gelu, gelu, gelu_tanh, kind_of

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
KINDS = ["erf", "tanh", "silu", "relu"]
FORMULAS = {
    "erf": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "relu": lambda x: max(x, 0.0),
}


def arguments(shape, dtype="float64", seed=0):
    random = np.random.default_rng(seed)
    wide = "float64" if dtype == "float64" else "float32"
    inputs = tf.constant(random.normal(0, 2, shape), dtype)
    return inputs, tf.constant(random.normal(size=shape[-1:]), wide)


@pytest.mark.parametrize("kind", KINDS)
def test_composed_is_the_formula(kind):
    inputs, bias = arguments((3, 8))
    formula = np.vectorize(FORMULAS[kind])
    biased = np.array(inputs) + np.array(bias)
    np.testing.assert_allclose(
        composed_gelu(inputs, bias, kind), formula(biased), rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(
        composed_gelu(inputs, bias, kind, gated=True),
        formula(biased[:, :4]) * biased[:, 4:],
        rtol=1e-10,
        atol=1e-12,
    )


def results_and_gradients(function, tensors, kind, gated):
    inputs, bias = tensors
    watched = [t for t in tensors if t is not None]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        outputs = function(inputs, bias, kind, gated)
        loss = tf.reduce_sum(tf.square(outputs))
    return [outputs, *tape.gradient(loss, watched)]


@needs_native
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", [(2,), (7, 118), (2, 3, 1026), (97, 64)])
def test_fused_is_composed(shape, with_bias, gated, kind):
    inputs, bias = arguments(shape, "float32")
    tensors = (inputs, bias if with_bias else None)
    exact = [None if t is None else tf.cast(t, "float64") for t in tensors]
    fused = results_and_gradients(gelu, tensors, kind, gated)
    composed = results_and_gradients(composed_gelu, exact, kind, gated)
    for mine, other in zip(fused, composed, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_error_is_at_most_twice_keras_own(kind, dtype):
    inputs = tf.cast(np.random.default_rng(3).normal(0, 2, (64, 768)), dtype)
    stock = {
        "erf": lambda x: keras.ops.gelu(x, approximate=False),
        "tanh": lambda x: keras.ops.gelu(x, approximate=True),
        "silu": keras.ops.silu,
        "relu": keras.ops.relu,
    }[kind]

    def run(function, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = function(x)
        return [np.array(tf.cast(t, "float64")) for t in (outputs, tape.gradient(outputs, x))]

    exact = run(stock, tf.cast(inputs, "float64"))
    mine, theirs = run(lambda x: gelu(x, kind=kind), inputs), run(stock, inputs)
    for found, peer, expected in zip(mine, theirs, exact, strict=True):
        error, peer_error = np.abs(found - expected).max(), np.abs(peer - expected).max()
        assert error <= 2 * peer_error + 1e-7


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_gives_the_same_bits(kind, gated, jit_compile, dtype):
    tensors = arguments((3, 5, 38), dtype)

    def function(*tensors):
        return results_and_gradients(gelu, tensors, kind, gated)

    compiled = tf.function(function, jit_compile=jit_compile)(*tensors)
    for mine, other in zip(compiled, function(*tensors), strict=True):
        np.testing.assert_array_equal(mine, other)


@needs_native
def test_unknown_sizes_in_a_graph_and_empty_tensors():
    @tf.function(input_signature=[tf.TensorSpec((None, None, 6))])
    def function(inputs):
        assert gelu(inputs).shape.as_list() == [None, None, 6]
        outputs = gelu(inputs, gated=True)
        assert outputs.shape.as_list() == [None, None, 3]
        return outputs

    assert function(tf.zeros((0, 2, 6))).shape == (0, 2, 3)
    assert function(tf.zeros((4, 2, 6))).shape == (4, 2, 3)
    assert gelu(tf.zeros((3, 0)), gated=True).shape == (3, 0)


@needs_native
def test_what_does_not_fit_is_refused():
    errors = (tf.errors.InvalidArgumentError, ValueError)
    with pytest.raises(errors, match=r"bias has shape \[3\], expected \[4\]|Dimension"):
        gelu(tf.ones((2, 4)), tf.ones(3))
    with pytest.raises(errors, match=r"expected \(..., 2 \* dim\)|divi"):
        gelu(tf.ones((2, 5)), gated=True)
    with pytest.raises(errors, match=r"inputs is a scalar|rank"):
        gelu(tf.constant(1.0))
    with pytest.raises(errors, match="swish"):
        gelu(tf.ones((2, 4)), kind="swish")


@needs_native
def test_a_second_derivative_is_refused():
    x = tf.random.normal((2, 4))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(gelu(x))
        gradient = inner.gradient(y, x)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        outer.gradient(gradient, x)


def test_the_kind_of_an_activation():
    assert kind_of(keras.activations.get("gelu")) == "erf"
    assert kind_of(gelu_tanh) == "tanh"
    assert kind_of(keras.activations.get("swish")) == "silu"
    assert kind_of(keras.activations.tanh) is None


@needs_native
@pytest.mark.parametrize("gated", [False, True])
def test_results_larger_than_the_caches_have_the_bits_of_small_ones(gated):
    """The kernel writes them past the caches."""
    rows = 4200  # above 16 MiB
    whole_inputs, bias = arguments((rows, 2048 if gated else 1024), "float32")

    def results(count):
        inputs = whole_inputs[:count]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = gelu(inputs, bias, gated=gated)
            loss = tf.reduce_sum(tf.square(outputs))
        return [outputs, tape.gradient(loss, inputs)]

    for whole, part in zip(results(rows), results(rows // 3), strict=True):
        np.testing.assert_array_equal(whole[: rows // 3], part)
