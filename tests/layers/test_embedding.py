"""kerasllm.layers.Embedding against keras.layers.Embedding and its tests."""

import keras
import keras_own_tests
import numpy as np
import pytest
import tensorflow as tf
from keras.src import layers

import kerasllm
from kerasllm import native

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("case_class", "method"), keras_own_tests.collect("keras.src.layers.core.embedding_test")
)
def test_keras_own(case_class, method, monkeypatch):
    monkeypatch.setattr(layers, "Embedding", kerasllm.layers.Embedding)
    keras_own_tests.run(case_class, method)


def pair(policy="float32", **kwargs):
    """Ours and Keras's, with the same weights."""
    mine = kerasllm.layers.Embedding(50, 24, dtype=policy, **kwargs)
    theirs = keras.layers.Embedding(50, 24, dtype=policy, **kwargs)
    mine.build(), theirs.build()
    theirs.set_weights(mine.get_weights())
    return mine, theirs


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("shape", [(6,), (3, 7), (2, 3, 4), ()])
def test_outputs_and_gradients_are_those_of_keras(shape, policy):
    mine, theirs = pair(policy)
    ids = tf.constant(np.random.default_rng(0).integers(0, 50, shape), tf.int32)
    results = []
    for layer in (mine, theirs):
        with tf.GradientTape() as tape:
            outputs = layer(ids)
            loss = tf.reduce_sum(tf.cast(outputs, "float32") ** 2)
        gradient = tape.gradient(loss, layer.trainable_variables[0].value)
        results.append((outputs, tf.convert_to_tensor(gradient)))
    assert results[0][0].dtype == results[1][0].dtype
    assert results[0][1].dtype == results[1][1].dtype
    np.testing.assert_array_equal(*(tf.cast(outputs, "float64") for outputs, _ in results))
    tolerance = 1e-6 if policy in ("float32", "float64") else 2e-2
    np.testing.assert_allclose(
        *(tf.cast(gradient, "float64") for _, gradient in results), rtol=tolerance, atol=tolerance
    )


@needs_native
def test_the_gradient_is_dense_and_float32_under_mixed_precision():
    layer, _ = pair("mixed_bfloat16")
    with tf.GradientTape() as tape:
        outputs = layer(tf.constant([[1, 2]]))
    gradient = tape.gradient(outputs, layer.embeddings.value)
    assert outputs.dtype == tf.bfloat16
    assert tf.is_tensor(gradient) and gradient.dtype == tf.float32


@needs_native
def test_adam_gets_the_whole_gradient_of_a_token_that_occurs_twice():
    """Keras on TensorFlow gives the velocity the sum of the occurrences' squares."""
    layer, _ = pair()
    optimizer = keras.optimizers.Adam()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(3.0 * layer(tf.constant([[7, 7]])))
    optimizer.apply([tape.gradient(loss, layer.embeddings.value)], [layer.embeddings])
    np.testing.assert_allclose(optimizer._velocities[0][7], np.full(24, 0.001 * 6**2), rtol=1e-5)


@needs_native
def test_no_call_casts_the_table():
    layer, _ = pair("mixed_bfloat16")
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((2, 3), tf.int32)).graph
    assert "Cast" not in [operation.type for operation in graph.get_operations()]


@needs_native
@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_id_without_a_row_is_refused_in_predict_and_fit(jit_compile):
    model = keras.Sequential([keras.Input((3,), dtype="int32"), kerasllm.layers.Embedding(5, 2)])
    model.compile("sgd", "mse", jit_compile=jit_compile)
    assert model.predict(np.array([[0, 1, 4]]), verbose=0).shape == (1, 3, 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"token_ids\[0, 2\] is 5"):
        model.predict(np.array([[0, 1, 5]]), verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"token_ids\[0, 0\] is -2"):
        model.fit(np.array([[-2, 1, 0]]), np.zeros((1, 3, 2)), verbose=0)


def test_sparse_ragged_and_float_ids_take_kerass_path_or_its_results():
    mine, theirs = pair()
    ragged = tf.ragged.constant([[1, 2, 3], [4]])
    np.testing.assert_array_equal(mine(ragged).to_tensor(), theirs(ragged).to_tensor())
    floats = tf.constant([[1.0, 2.0]])
    np.testing.assert_array_equal(mine(floats), theirs(floats))
    sparse = tf.sparse.from_dense(tf.constant([[1, 2], [0, 3]]))
    np.testing.assert_array_equal(mine(sparse), theirs(sparse))


def test_the_mask_and_lora():
    mine, theirs = pair(mask_zero=True)
    ids = tf.constant([[1, 0, 2]])
    np.testing.assert_array_equal(mine.compute_mask(ids), theirs.compute_mask(ids))
    for layer in (mine, theirs):
        layer.enable_lora(2)
    theirs.set_weights(mine.get_weights())
    np.testing.assert_allclose(mine(ids), theirs(ids), rtol=1e-6)


def test_weights_files_go_both_ways(tmp_path):
    mine, theirs = pair()
    mine.build(), theirs.build()
    models = [keras.Sequential([keras.Input((3,), dtype="int32"), x]) for x in (mine, theirs)]
    ids = np.array([[1, 2, 3]])
    mine.embeddings.assign(np.random.default_rng(1).normal(size=(50, 24)))
    models[0].save_weights(tmp_path / "a.weights.h5")
    models[1].load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(models[0](ids), models[1](ids))
    models[0].save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    assert type(loaded.layers[0]) is kerasllm.layers.Embedding
    np.testing.assert_array_equal(models[0](ids), loaded(ids))
