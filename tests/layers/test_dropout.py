"""kerasllm.layers.Dropout against keras.layers.Dropout and its tests."""

import keras
import keras_own_tests
import numpy as np
import pytest
from keras.src import layers

import kerasllm


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("case_class", "method"),
    keras_own_tests.collect("keras.src.layers.regularization.dropout_test"),
)
def test_keras_own(case_class, method, monkeypatch):
    monkeypatch.setattr(layers, "Dropout", kerasllm.layers.Dropout)
    keras_own_tests.run(case_class, method)


def test_the_same_seed_drops_the_same_in_eager_and_compiled_calls():
    inputs = np.ones((5, 33), "float32")

    def outputs(jit_compile):
        model = keras.Sequential([kerasllm.layers.Dropout(0.4, seed=7)])
        model.compile(jit_compile=jit_compile)
        model.predict(inputs, verbose=0)
        model.layers[0].seed_generator.state.assign([7, 0])
        import tensorflow as tf

        call = tf.function(lambda x: model(x, training=True), jit_compile=jit_compile)
        return np.array(call(inputs))

    eager = np.array(kerasllm.layers.Dropout(0.4, seed=7)(inputs, training=True))
    np.testing.assert_array_equal(outputs(False), eager)
    np.testing.assert_array_equal(outputs(True), eager)
    assert 0 < (eager == 0).mean() < 1


def test_inference_and_rates_of_zero_and_one():
    inputs = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_array_equal(kerasllm.layers.Dropout(0.5)(inputs, training=False), inputs)
    np.testing.assert_array_equal(kerasllm.layers.Dropout(0.0)(inputs, training=True), inputs)
    np.testing.assert_array_equal(kerasllm.layers.Dropout(1.0)(inputs, training=True), inputs * 0)


def test_noise_shape_takes_kerass_path():
    outputs = np.array(
        kerasllm.layers.Dropout(0.5, noise_shape=(None, 1), seed=3)(np.ones((64, 8)), training=True)
    )
    assert all(len(set(row)) == 1 for row in outputs)
    assert 0 < (outputs == 0).mean() < 1
