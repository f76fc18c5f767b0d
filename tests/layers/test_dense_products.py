"""How dense layers multiply: the product with its bias, and several products in one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm.layers import CachedMultiHeadAttention, Dense
from kerasllm.ops.dense import composed_dense, dense


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 4, 3, 5), (0, 3, 5)])
@pytest.mark.parametrize("use_bias", [False, True])
def test_it_is_the_product_and_the_bias(shape, use_bias):
    random = np.random.default_rng(0)
    inputs, kernel, bias = (random.normal(size=size) for size in (shape, (5, 4), (4,)))
    tensors = [tf.constant(each) for each in (inputs, kernel, bias)]
    if not use_bias:
        bias, tensors[2] = 0, None
    for function in (composed_dense, dense, tf.function(dense, jit_compile=True)):
        if shape == (5,) and function not in (composed_dense, dense):
            continue
        np.testing.assert_allclose(function(*tensors), inputs @ kernel + bias, atol=1e-12)


def test_tensorflow_makes_one_op_of_a_dense_layer():
    layer = Dense(4)
    layer.build((None, None, 5))
    function = tf.function(lambda x: layer(x)).get_concrete_function(tf.TensorSpec((None, 3, 5)))
    operations = {operation.type for operation in function.graph.get_operations()}
    assert {"MatMul", "BiasAdd"} <= operations  # what TensorFlow's remapper looks for
    assert not {"AddV2", "BatchMatMulV2"} & operations


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("rotary", [None, 10000])
@pytest.mark.parametrize("norm", [None, 1e-6])
def test_query_key_and_value_from_one_product_are_the_same(heads, use_bias, rotary, norm):
    keras.utils.set_random_seed(0)
    layer = CachedMultiHeadAttention(
        heads[0],
        8,
        heads[1],
        use_bias=use_bias,
        query_key_norm_epsilon=norm,
        rotary_max_wavelength=rotary,
    )
    inputs = keras.random.normal((2, 7, 24))
    apart = layer(inputs, training=False)
    assert layer._one_product(inputs, training=True)
    assert not layer._one_product(inputs, training=False)
    for weight in layer.trainable_weights:
        weight.assign(keras.random.normal(weight.shape, stddev=0.3))
    variables = [weight.value for weight in layer.trainable_weights]
    results = []
    for training in (False, True):
        with tf.GradientTape() as tape:
            outputs = layer(inputs, training=training)
            loss = tf.reduce_sum(outputs**2)
        results.append([outputs, *tape.gradient(loss, variables)])
    assert not np.allclose(results[0][0], apart)
    for one, three in zip(*results, strict=True):
        np.testing.assert_allclose(one, three, atol=1e-4, rtol=1e-5)


def test_a_layer_whose_call_was_replaced_is_called():
    layer = CachedMultiHeadAttention(2, 4)
    inputs = keras.random.normal((1, 3, 8))
    layer(inputs)
    layer.key_dense.call = lambda inputs, training=None: 0 * inputs
    assert not layer._one_product(inputs, training=True)
    layer(inputs, training=True)
