"""TokenAndPositionEmbedding against keras.layers.Embedding and slices."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasllm

TokenAndPositionEmbedding = kerasllm.layers.TokenAndPositionEmbedding
RANDOM = np.random.default_rng(0)
TOKEN_IDS = RANDOM.integers(0, 30, (4, 9)).astype("int32")
SEGMENT_IDS = RANDOM.integers(0, 2, (4, 9)).astype("int32")


def reference(layer, token_ids, segment_ids=None, start=0):
    tables = [np.array(table, "float64") for table in layer.weights]
    outputs = tables[0][token_ids] + tables[1][start : start + token_ids.shape[1]]
    return outputs if segment_ids is None else outputs + tables[2][segment_ids]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float64"])
def test_the_sum(policy):
    layer = TokenAndPositionEmbedding(30, 16, 20, num_segments=2, dtype=policy)
    outputs = layer(TOKEN_IDS, segment_ids=SEGMENT_IDS)
    assert outputs.dtype == layer.compute_dtype
    np.testing.assert_allclose(
        tf.cast(outputs, "float64"),
        reference(layer, TOKEN_IDS, SEGMENT_IDS),
        atol=1e-6 if policy != "mixed_bfloat16" else 1e-3,
    )
    np.testing.assert_array_equal(layer(TOKEN_IDS), layer(TOKEN_IDS, 0 * SEGMENT_IDS))


def test_without_segments_and_from_a_later_start():
    layer = TokenAndPositionEmbedding(30, 16, 20)
    np.testing.assert_allclose(layer(TOKEN_IDS), reference(layer, TOKEN_IDS), atol=1e-6)
    last = layer(TOKEN_IDS[:, 4:], start_index=4)
    np.testing.assert_array_equal(last, layer(TOKEN_IDS)[:, 4:])

    @tf.function
    def step(start):
        return layer(TOKEN_IDS[:, 4:5], start_index=start)

    np.testing.assert_array_equal(step(tf.constant(4)), layer(TOKEN_IDS)[:, 4:5])
    with pytest.raises(ValueError, match="without num_segments"):
        layer(TOKEN_IDS, segment_ids=SEGMENT_IDS)


def test_the_mask():
    mask = TokenAndPositionEmbedding(30, 16, 4).compute_mask(np.array([[3, 0]]))
    np.testing.assert_array_equal(mask, [[True, False]])
    assert TokenAndPositionEmbedding(30, 16, 4, mask_zero=False).compute_mask(TOKEN_IDS) is None


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_save_and_load(jit_compile, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = {
        "tokens": keras.Input((None,), dtype="int32", name="tokens"),
        "segments": keras.Input((None,), dtype="int32", name="segments"),
    }
    layer = TokenAndPositionEmbedding(
        30, 16, 20, num_segments=2, embeddings_regularizer=keras.regularizers.L2(1e-3)
    )
    outputs = layer(inputs["tokens"], segment_ids=inputs["segments"])
    assert outputs.shape == (None, None, 20)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(outputs))
    model.compile("adam", "mse", jit_compile=jit_compile)
    data = {"tokens": TOKEN_IDS, "segments": SEGMENT_IDS}
    before = layer.get_weights()
    model.fit(data, np.ones((4, 20)), verbose=0)
    assert all(not np.array_equal(*w) for w in zip(before, layer.get_weights(), strict=True))
    assert [w.name for w in layer.weights] == [
        "token_embeddings",
        "position_embeddings",
        "segment_embeddings",
    ]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer(layer.name).get_config() == layer.get_config()
    np.testing.assert_allclose(
        loaded.predict(data, verbose=0), model.predict(data, verbose=0), atol=1e-6
    )
