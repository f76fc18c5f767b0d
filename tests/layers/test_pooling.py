"""Pooling over the steps that a mask leaves, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm.layers import MaskedMaxPooling1D, MaskedMeanPooling1D

LAYERS = {"max": (MaskedMaxPooling1D, np.max), "mean": (MaskedMeanPooling1D, np.mean)}

pytestmark = pytest.mark.parametrize("kind", list(LAYERS))


def masks(batch, time):
    steps = np.arange(time)
    lengths = np.arange(batch) % time + 1
    return {
        "right": steps < lengths[:, None],
        "left": steps >= time - lengths[:, None],
        "scattered": (np.arange(batch)[:, None] + steps) % 3 != 1,
        "full": np.ones((batch, time), bool),
    }


def pool(inputs, mask, function):
    rows = [function(row[keep], axis=0) for row, keep in zip(inputs, mask, strict=True)]
    return np.stack(rows)


def values(*shape):
    return np.random.default_rng(0).normal(-3, 1, shape).astype("float32")  # mostly below 0


@pytest.mark.parametrize("name", ["right", "left", "scattered", "full"])
@pytest.mark.parametrize("shape", [(6, 5, 4), (4, 1, 1), (9, 33, 7)])
def test_only_steps_that_count_take_part(kind, name, shape):
    layer_class, function = LAYERS[kind]
    inputs, mask = values(*shape), masks(*shape[:2])[name]
    if not mask.any(axis=1).all():
        mask[:, 0] = True
    inputs[~mask] = 1e9
    expected = pool(inputs, mask, function)
    np.testing.assert_allclose(layer_class()(inputs, mask=mask), expected, rtol=1e-5)
    inputs[~mask] = np.nan
    np.testing.assert_allclose(layer_class()(inputs, mask=mask), expected, rtol=1e-5)


def test_without_a_mask_it_is_keras_global_pooling(kind):
    stock = {
        "max": keras.layers.GlobalMaxPooling1D,
        "mean": keras.layers.GlobalAveragePooling1D,
    }[kind]()
    inputs = values(3, 5, 4)
    np.testing.assert_allclose(LAYERS[kind][0]()(inputs), stock(inputs), rtol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_row_without_steps_gives_zeros_and_its_gradient_is_zero(kind, policy):
    """Keras's GlobalAveragePooling1D gives NaN for such a row, so one of them ruined a training."""
    layer = LAYERS[kind][0](dtype=policy)
    inputs = tf.constant(values(3, 5, 4), layer.compute_dtype)
    mask = np.ones((3, 5), bool)
    mask[1] = False
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, mask=mask)
    gradient = np.array(tf.cast(tape.gradient(outputs, inputs), "float32"))
    assert outputs.dtype == layer.compute_dtype
    assert (np.array(tf.cast(outputs[1], "float32")) == 0).all()
    assert (gradient[1] == 0).all()
    assert np.isfinite(gradient).all() and gradient[[0, 2]].any()


def test_gradient_goes_to_the_steps_that_count(kind):
    inputs = tf.constant(values(6, 5, 4))
    mask = masks(6, 5)["right"]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = tf.reduce_sum(LAYERS[kind][0]()(inputs, mask=mask))
    gradient = np.array(tape.gradient(outputs, inputs))
    lengths = mask.sum(axis=1)[:, None, None]
    if kind == "mean":
        expected = np.where(mask[..., None], 1 / lengths, 0) * np.ones(4)
    else:
        masked = np.where(mask[..., None], np.array(inputs), -np.inf)
        expected = masked == masked.max(axis=1, keepdims=True)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_mask_of_an_embedding_reaches_it_and_ends_there(kind):
    token_ids = np.array([[3, 1, 0, 0], [2, 2, 4, 1]])
    embedding = keras.layers.Embedding(5, 3, mask_zero=True)
    layer_class, function = LAYERS[kind]
    inputs = keras.Input((None,), dtype="int32")
    embedded = embedding(inputs)
    pooled = layer_class()(embedded)
    assert getattr(pooled, "_keras_mask", None) is None
    vectors = keras.Model(inputs, embedded).predict(token_ids, verbose=0)
    np.testing.assert_allclose(
        keras.Model(inputs, pooled).predict(token_ids, verbose=0),
        pool(vectors, token_ids != 0, function),
        rtol=1e-5,
    )


def test_shapes_config_and_save_are_kept(kind, tmp_path):
    layer = LAYERS[kind][0](name="pooling", dtype="mixed_bfloat16")
    assert layer.compute_output_shape((None, None, 7)) == (None, 7)
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.Masking(), layer])
    assert model.output_shape == (None, 3)
    model.save(tmp_path / "m.keras")
    inputs = values(2, 5, 3)
    inputs[0, 3:] = 0
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        *(m.predict(inputs, verbose=0).astype("float32") for m in (loaded, model))
    )
