"""Dense against keras.layers.Dense and its tests; GatedDense against two of them."""

import keras
import keras_own_tests
import numpy as np
import pytest
from keras.src import layers

import kerasllm

ACTIVATIONS = ["gelu", "silu", "relu", "tanh", None, kerasllm.ops.gelu_tanh]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("case_class", "method"), keras_own_tests.collect("keras.src.layers.core.dense_test")
)
def test_keras_own(case_class, method, monkeypatch):
    monkeypatch.setattr(layers, "Dense", kerasllm.layers.Dense)
    keras_own_tests.run(case_class, method)


def as_numpy(tensor):
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float16", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("use_bias", [False, True])
def test_the_same_as_keras(activation, use_bias, policy):
    options = {"bias_initializer": "normal", "use_bias": use_bias, "dtype": policy}
    stock = keras.layers.Dense(19, activation=activation, **options)
    ours = kerasllm.layers.Dense.from_config(stock.get_config())
    inputs = np.random.default_rng(0).normal(size=(3, 5, 16)).astype("float32")
    expected = stock(inputs)
    ours.build(inputs.shape)
    ours.set_weights(stock.get_weights())
    found = ours(inputs)
    assert found.dtype == expected.dtype
    tolerance = 2e-6 if policy in ("float32", "float64") else 0.02
    np.testing.assert_allclose(as_numpy(found), as_numpy(expected), rtol=0.01, atol=tolerance)


@pytest.mark.parametrize("activation", ["gelu", "silu"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_is_that_of_keras(activation, jit_compile):
    inputs = np.random.default_rng(0).normal(size=(6, 16)).astype("float32")
    losses, weights = [], []
    for layer_class in (keras.layers.Dense, kerasllm.layers.Dense):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([layer_class(16, activation=activation)])
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
        losses.append(model.fit(inputs, inputs, epochs=3, verbose=0).history["loss"])
        weights.append(model.get_weights())
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    for mine, other in zip(*weights, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("activation", ["gelu", "silu", "relu", kerasllm.ops.gelu_tanh])
def test_gated_dense_is_two_dense_layers(activation, policy):
    inputs = np.random.default_rng(0).normal(size=(3, 5, 16)).astype("float32")
    layer = kerasllm.layers.GatedDense(
        7, activation, use_bias=True, bias_initializer="normal", dtype=policy
    )
    found = layer(inputs)
    assert found.shape == layer.compute_output_shape(inputs.shape) == (3, 5, 7)
    kernel, bias = layer.get_weights()
    gate, value = keras.layers.Dense(7, activation), keras.layers.Dense(7)
    for half, dense in enumerate((gate, value)):
        dense.build(inputs.shape)
        dense.set_weights([kernel[:, 7 * half :][:, :7], bias[7 * half :][:7]])
    tolerance = 2e-6 if policy == "float32" else 0.05
    np.testing.assert_allclose(as_numpy(found), gate(inputs) * value(inputs), atol=tolerance)


def test_layers_saved_and_loaded(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            kerasllm.layers.Dense(6, activation=kerasllm.ops.gelu_tanh),
            kerasllm.layers.GatedDense(3, kernel_regularizer="l2"),
        ]
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].activation is kerasllm.ops.gelu_tanh
    for mine, other in zip(loaded.layers, model.layers, strict=True):
        assert type(mine) is type(other) and mine.get_config() == other.get_config()
    inputs = np.ones((2, 5), "float32")
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


def test_gated_dense_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="units is 0, expected a positive integer"):
        kerasllm.layers.GatedDense(0)
    with pytest.raises(ValueError, match="activation is 'tanh', expected 'silu'"):
        kerasllm.layers.GatedDense(3, "tanh")
