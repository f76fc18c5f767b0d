"""Multi-sample dropout against the mean of several losses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm.layers import MultiSampleDropout
from kerasllm.ops.dropout import composed_dropout


def make(rate=0.5, num_samples=4, dtype=None):
    keras.utils.set_random_seed(0)
    layer = MultiSampleDropout(3, rate=rate, num_samples=num_samples, seed=7, dtype=dtype)
    layer.build((None, 16))
    layer.bias.assign([0.1, -0.2, 0.3])
    return layer


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_of_the_samples_losses(smoothing):
    generator = np.random.default_rng(0)
    x, labels = generator.normal(size=(6, 16)).astype("float32"), np.array([0, 1, 2, 0, 1, 2])
    targets = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    layer = make()
    inputs = keras.Input((16,))
    model = keras.Model(inputs, layer(inputs))
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    seed = np.array(layer.seed_generator.state)
    kernel, bias = (tf.Variable(np.array(v, "float64")) for v in (layer.kernel, layer.bias))
    drops = np.array(
        composed_dropout(np.ones((24, 16), "float32"), 0.5, tf.constant(seed, "int32"))
    )
    assert 0.3 < (drops == 0).mean() < 0.7
    with tf.GradientTape() as tape:
        samples = np.repeat(x.astype("float64"), 4, axis=0) * drops
        losses = -tf.reduce_sum(
            np.repeat(targets, 4, axis=0) * tf.nn.log_softmax(samples @ kernel + bias), axis=1
        )
        expected = tf.reduce_mean(losses)
    gradients = tape.gradient(expected, [kernel, bias])
    before = [np.array(v) for v in (layer.kernel, layer.bias)]
    loss = model.train_on_batch(x, targets.astype("float32"))
    assert float(np.ravel(loss)[0]) == pytest.approx(float(expected), rel=1e-5)
    for old, new, gradient in zip(before, (layer.kernel, layer.bias), gradients, strict=True):
        np.testing.assert_allclose((old - np.array(new)) / 0.01, gradient, atol=2e-4)


def test_outside_training_it_is_a_dense_layer():
    layer, x = make(), np.random.default_rng(0).normal(size=(5, 16)).astype("float32")
    np.testing.assert_allclose(layer(x), x @ layer.kernel + layer.bias, atol=1e-5)
    assert not layer.losses


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_fit_save_and_load(policy, tmp_path):
    inputs = keras.Input((16,))
    model = keras.Model(inputs, MultiSampleDropout(3, num_samples=2, dtype=policy)(inputs))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = np.random.default_rng(0).normal(size=(8, 16)), np.arange(8) % 3
    first = model.evaluate(x, y, verbose=0)
    model.fit(x, y, epochs=40, verbose=0)
    assert model.evaluate(x, y, verbose=0) < first
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_arguments_that_make_no_sense():
    with pytest.raises(ValueError, match="rate is 1"):
        MultiSampleDropout(3, rate=1.0)
    with pytest.raises(ValueError, match="takes no activation"):
        MultiSampleDropout(3, activation="relu")
