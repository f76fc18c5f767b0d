"""cached_attention and few_rows_product against NumPy and against their keras.ops twins."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.layers import CachedMultiHeadAttention, Dense
from kerasllm.ops.attention import composed_attention
from kerasllm.ops.cached_attention import cached_attention, composed_cached_attention
from kerasllm.ops.decoding import decoding
from kerasllm.ops.few_rows_product import (
    composed_few_rows_product,
    few_rows_product,
    few_rows_products,
    few_rows_served,
)

pytestmark = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
BATCH, MAX_LENGTH, HEADS, KEY_VALUE_HEADS, DIM = 2, 40, 6, 2, 59


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def make_caches(dtype="float32"):
    shape = (BATCH, KEY_VALUE_HEADS, MAX_LENGTH, DIM)
    return [keras.Variable(np.zeros(shape), trainable=False, dtype=dtype) for _ in range(2)]


@pytest.mark.parametrize("first_key", [None, [0, 5]])
@pytest.mark.parametrize("window", [None, 4])
def test_texts_in_parts_are_attention_over_the_whole(first_key, window):
    time = 20
    query = normal(BATCH, time, HEADS, DIM)
    key, value = (normal(BATCH, time, KEY_VALUE_HEADS, DIM, seed=s) for s in (1, 2))
    mask = None
    if first_key is not None:
        first_key = np.array(first_key, "int32")
        mask = np.arange(time) >= first_key[:, None, None, None]
    tensors = [tf.constant(x, tf.float64) for x in (query, key, value)]
    expected = composed_attention(*tensors, mask=mask, causal=True, window=window)
    for function in (cached_attention, composed_cached_attention):
        caches, parts = make_caches(), []
        for begin, end in [(0, 9), (9, 10), (10, 11), (11, 20)]:
            step = [tf.constant(x[:, begin:end]) for x in (query, key, value)]
            parts.append(function(*caches, *step, begin, first_key, window))
        np.testing.assert_allclose(np.concatenate(parts, 1), expected, atol=2e-6)


def test_bfloat16_is_near_and_in_graphs_the_order_holds():
    query = normal(BATCH, 3, HEADS, DIM)
    key, value = (normal(BATCH, 3, KEY_VALUE_HEADS, DIM, seed=s) for s in (1, 2))
    expected = composed_attention(*map(tf.constant, (query, key, value)), causal=True)
    caches = make_caches("bfloat16")

    @tf.function
    def run(query, key, value):
        parts = [
            cached_attention(
                *caches, query[:, i : i + 1], key[:, i : i + 1], value[:, i : i + 1], i
            )
            for i in range(3)
        ]
        return tf.concat(parts, 1)

    found = run(*(tf.cast(x, "bfloat16") for x in (query, key, value)))
    np.testing.assert_allclose(tf.cast(found, "float32"), expected, atol=0.03)


def test_a_tensor_read_before_keeps_its_values():
    caches = make_caches()
    before = caches[0].value.read_value()
    ones = tf.ones((BATCH, 1, KEY_VALUE_HEADS, DIM))
    cached_attention(*caches, tf.ones((BATCH, 1, HEADS, DIM)), ones, ones, 3)
    assert np.abs(before).max() == 0
    assert np.array(caches[0].value)[:, :, 3].min() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": 40}, "start is 40 with 1 queries; the caches have 40 places"),
        ({"start": -1}, "start is -1"),
        ({"key": np.ones((BATCH, 1, 3, DIM), "float32")}, "key has shape"),
        ({"query": np.ones((BATCH, 1, 5, DIM), "float32")}, "num_heads is 5"),
        ({"first_key": np.zeros(3, "int32")}, "first_key has shape"),
    ],
)
def test_bad_shapes_are_refused(change, message):
    rows = np.ones((BATCH, 1, KEY_VALUE_HEADS, DIM), "float32")
    inputs = {"query": np.ones((BATCH, 1, HEADS, DIM), "float32"), "key": rows, "value": rows}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        cached_attention(*make_caches(), **{**inputs, "start": 0, **change})


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_few_rows_product_is_a_product(dtype, transposed):
    inputs = tf.cast(normal(2, 3, 97), dtype)
    kernel = tf.cast(normal(*((1025, 97) if transposed else (97, 1025)), seed=1), dtype)
    bias = tf.cast(normal(1025, seed=2), dtype)
    wide = [tf.cast(x, tf.float64) for x in (inputs, kernel, bias)]
    expected = composed_few_rows_product(*wide, transposed=transposed)
    found = few_rows_product(inputs, kernel, bias, transposed)
    assert found.dtype == dtype
    error = np.abs(tf.cast(found, tf.float64) - expected).max()
    stock = tf.matmul(tf.reshape(inputs, (6, 97)), kernel, transpose_b=transposed) + bias
    stock = tf.reshape(tf.cast(stock, tf.float64), expected.shape)
    assert error <= 2 * np.abs(stock - expected).max()
    exact = few_rows_product(inputs, kernel, bias, transposed, outputs_dtype="float32")
    np.testing.assert_allclose(exact, expected, atol=1e-4)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_several_products_have_the_bits_of_each(dtype, transposed):
    inputs, sizes = tf.cast(normal(2, 1, 97), dtype), (64, 1025, 33, 8)
    shapes = [(size, 97) if transposed else (97, size) for size in sizes]
    kernels = [tf.cast(normal(*shape, seed=1), dtype) for shape in shapes]
    biases = [tf.cast(normal(size, seed=2), dtype) for size in sizes[:3]] + [None]
    found = few_rows_products(inputs, kernels, biases, transposed)
    for each, kernel, bias in zip(found, kernels, biases, strict=True):
        np.testing.assert_array_equal(each, few_rows_product(inputs, kernel, bias, transposed))
    with pytest.raises(tf.errors.InvalidArgumentError, match="5 kernels, expected up to 4"):
        few_rows_products(inputs, [*kernels, kernels[0]], 5 * [None], transposed)


@pytest.mark.parametrize("norm", [None, 1e-6])
def test_attention_takes_query_key_and_value_from_one_op_in_decoding(norm):
    layer = CachedMultiHeadAttention(
        6, 8, num_key_value_heads=2, query_key_norm_epsilon=norm, rotary_max_wavelength=1e4
    )
    inputs = normal(2, 1, 24)
    layer(inputs)
    for weight in layer.weights:
        weight.assign(normal(*weight.shape))
    cache = layer.make_cache(2, 9)
    expected, _ = layer(inputs, causal=True, cache=cache, start_index=5)

    @tf.function
    def step(inputs):
        with decoding():
            return layer(inputs, causal=True, cache=cache, start_index=5)[0]

    np.testing.assert_allclose(step(inputs), expected, rtol=1e-5, atol=1e-5)
    types = [op.type for op in step.get_concrete_function(inputs).graph.get_operations()]
    assert types.count("KerasllmFewRowsProduct") == 2 and "MatMul" not in types


def test_it_serves_in_decoding_alone():
    few, many = tf.ones((16, 1, 8)), tf.ones((17, 1, 8))
    assert not few_rows_served(few)
    with decoding():
        assert few_rows_served(few) and not few_rows_served(many)
        assert not few_rows_served(tf.ones((2, 8), tf.float64))
    assert not few_rows_served(few)


@pytest.mark.parametrize("activation", [None, "gelu", "tanh"])
def test_dense_gives_the_same_in_decoding(activation):
    layer = Dense(33, activation=activation)
    inputs = normal(4, 1, 24)
    expected = layer(inputs)
    with decoding():
        np.testing.assert_allclose(layer(inputs), expected, atol=2e-6)


def test_bad_products_are_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"kernel|Dimensions"):
        few_rows_product(tf.ones((2, 5)), tf.ones((4, 3)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="bias"):
        few_rows_product(tf.ones((2, 4)), tf.ones((4, 3)), tf.ones(2))
