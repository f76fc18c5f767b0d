"""LayerNormalization and RMSNormalization against Keras's layers and their tests."""

import keras
import keras_own_tests
import numpy as np
import pytest
from keras.src import layers

import kerasllm

CLASSES = ["LayerNormalization", "RMSNormalization"]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("case_class", "method"),
    keras_own_tests.collect(
        "keras.src.layers.normalization.layer_normalization_test",
        "keras.src.layers.normalization.rms_normalization_test",
    ),
)
def test_keras_own(case_class, method, monkeypatch):
    for name in CLASSES:
        monkeypatch.setattr(layers, name, getattr(kerasllm.layers, name))
    keras_own_tests.run(case_class, method)


def pair(name, shape, **options):
    """Keras's layer and ours with the same weights, and inputs."""
    random = np.random.default_rng(0)
    stock = getattr(keras.layers, name)(**options)
    ours = getattr(kerasllm.layers, name).from_config(stock.get_config())
    for layer in (stock, ours):
        layer.build(shape)
    stock.set_weights([random.normal(size=w.shape) for w in stock.weights])
    ours.set_weights(stock.get_weights())
    return stock, ours, random.normal(size=shape).astype("float32")


def as_numpy(tensor):
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("axis", [-1, 2, 1, (1, 2)])
def test_the_same_as_keras(name, policy, axis):
    if name == "RMSNormalization" and axis == 1:
        pytest.skip("Keras's own does not broadcast its scale over another axis than the last")
    stock, ours, inputs = pair(name, (3, 5, 37), axis=axis, dtype=policy)
    found, expected = ours(inputs), stock(inputs)
    assert found.dtype == expected.dtype
    tolerance = 3e-6 if policy in ("float32", "float64") else 0.04
    np.testing.assert_allclose(as_numpy(found), as_numpy(expected), rtol=0.02, atol=tolerance)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("axis", [-1, 1])
def test_a_residual_and_dropout(name, policy, axis):
    if name == "RMSNormalization" and axis == 1:
        axis = (1, 2)
    stock, ours, inputs = pair(name, (3, 5, 37), axis=axis, dtype=policy)
    residual = np.random.default_rng(1).normal(size=inputs.shape).astype("float32")
    outputs, total = ours(inputs, residual=residual)
    tolerance = 0.04 if policy == "mixed_bfloat16" else 3e-6
    np.testing.assert_allclose(as_numpy(total), inputs + residual, atol=tolerance)
    expected = stock(inputs + residual)
    assert outputs.dtype == expected.dtype
    np.testing.assert_allclose(as_numpy(outputs), as_numpy(expected), atol=3 * tolerance)
    alone = ours(inputs, residual=residual, return_sum=False)
    np.testing.assert_array_equal(as_numpy(alone), as_numpy(outputs))
    seed = np.array([3, 4], "int32")
    _, total = ours(inputs, residual=residual, dropout_rate=0.25, seed=seed)
    kept = as_numpy(kerasllm.ops.dropout(keras.ops.convert_to_tensor(inputs), 0.25, seed))
    np.testing.assert_allclose(as_numpy(total), kept + residual, atol=2 * tolerance)


@pytest.mark.parametrize("name", CLASSES)
def test_in_a_functional_model_saved_and_loaded(name, tmp_path):
    inputs, residual = keras.Input((5, 8)), keras.Input((5, 8))
    outputs, total = getattr(kerasllm.layers, name)()(inputs, residual=residual)
    assert outputs.shape == total.shape == (None, 5, 8)
    model = keras.Model([inputs, residual], keras.layers.Add()([outputs, total]))
    model.compile("sgd", "mse")
    random = np.random.default_rng(0)
    data = [random.normal(size=(4, 5, 8)).astype("float32") for _ in range(2)]
    model.fit(data, np.zeros((4, 5, 8)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(data, verbose=0), model.predict(data, verbose=0))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_is_that_of_keras(name, jit_compile):
    stock, ours, inputs = pair(name, (6, 5, 16))
    losses = []
    for layer in (stock, ours):
        model = keras.Sequential([layer])
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
        losses.append(model.fit(inputs, inputs * 2, epochs=3, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    for mine, other in zip(ours.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
