"""kerasllm.ops.dropout: composed against a Philox in Python integers, fused against composed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.ops.dropout import composed_dropout, dropout
from kerasllm.ops.random import draw_seed, dropout_factors

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
SEED = tf.constant([-559038737, 12345], tf.int32)


def philox_of_one(counter, key):
    """Philox4x32-10 in Python's own integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            second >> 32 ^ c1 ^ k0,
            second & 0xFFFFFFFF,
            first >> 32 ^ c3 ^ k1,
            first & 0xFFFFFFFF,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def test_the_reference_gives_the_known_answers():
    """Those of the authors' library, Random123."""
    assert philox_of_one((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)


def test_factors_are_philox_by_row_and_column():
    factors = np.array(dropout_factors(SEED, (2, 3, 21), 0.3))
    key = [int(word) & 0xFFFFFFFF for word in SEED]
    for row in range(6):
        for column in range(21):
            words = philox_of_one((column // 8, row, 0, 0), key)
            bits = words[column % 8 // 2] >> (16 * (column % 2)) & 0xFFFF
            expected = 65536 / (65536 - 19661) if bits >= 19661 else 0
            assert factors.reshape(6, 21)[row, column] == np.float32(expected)


def test_the_share_dropped_is_the_rate():
    for rate in (0.1, 0.5, 0.9):
        factors = np.array(dropout_factors(SEED, (500, 400), rate))
        spread = (rate * (1 - rate) / factors.size) ** 0.5
        assert abs((factors == 0).mean() - rate) < 4 * spread + 1 / 65536
        assert abs(factors.mean() - 1) < 4 * spread / (1 - rate) + 1e-4


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(1,), (7, 59), (3, 5, 128), (2, 1, 1025)])
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_fused_is_composed(shape, dtype, jit_compile):
    inputs = tf.cast(np.random.default_rng(0).normal(size=shape), dtype)

    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = dropout(x, 0.2, SEED)
            loss = tf.reduce_sum(outputs * outputs)
        return outputs, tape.gradient(loss, x)

    run = function if jit_compile is None else tf.function(function, jit_compile=jit_compile)
    outputs, gradient = run(inputs)
    exact = tf.cast(inputs, "float64")
    expected = composed_dropout(exact, 0.2, SEED)
    factors = tf.cast(dropout_factors(SEED, shape, 0.2), "float64")
    tolerance = 1e-6 if dtype == "float32" else 1e-2
    np.testing.assert_allclose(tf.cast(outputs, "float64"), expected, rtol=tolerance)
    np.testing.assert_allclose(
        tf.cast(gradient, "float64"), 2 * expected * factors, rtol=2 * tolerance
    )


@needs_native
def test_unknown_sizes_in_a_graph_and_empty_tensors():
    @tf.function(input_signature=[tf.TensorSpec((None, None, 4), tf.float32)])
    def function(x):
        outputs = dropout(x, 0.5, SEED)
        assert outputs.shape.as_list() == [None, None, 4]
        return outputs

    assert function(tf.zeros((0, 3, 4))).shape == (0, 3, 4)
    assert function(tf.ones((2, 3, 4))).shape == (2, 3, 4)


@needs_native
def test_rates_and_seeds_that_do_not_fit_are_refused():
    from kerasllm_ops.dropout import dropout as op

    with pytest.raises(tf.errors.InvalidArgumentError, match="rate is 1, expected at least 0 and"):
        op(tf.ones((2, 2)), 1.0, SEED)
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match="seed"):
        op(tf.ones((2, 2)), 0.5, SEED[:1])


def test_seeds_drawn_differ():
    generator = keras.random.SeedGenerator(1)
    first, second = draw_seed(generator), draw_seed(generator)
    assert first.shape == (2,) and first.dtype == tf.int32
    assert not np.array_equal(first, second)
