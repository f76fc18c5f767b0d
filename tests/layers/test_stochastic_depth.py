"""StochasticDepth: which rows, how often, and what masks and files make of it."""

import keras
import numpy as np
import pytest

from kerasllm.layers import StochasticDepth


def test_rows_keep_the_whole_branch_or_nothing_of_it():
    x, branch = np.full((4000, 3, 5), 2.0, "float32"), np.ones((4000, 3, 5), "float32")
    layer = StochasticDepth(0.25, seed=1)
    np.testing.assert_array_equal(layer([x, branch]), x + branch)
    added = np.array(layer([x, branch], training=True)) - x
    assert (added == added[:, :1, :1]).all()
    kept = added[:, 0, 0] > 0
    assert kept.mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(added[kept], 1 / 0.75, rtol=1e-5)
    again = np.array(layer([x, branch], training=True)) - x
    assert not np.array_equal(again, added)


def test_first_mask_goes_on_and_files_keep_the_rate(tmp_path):
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(5, 4, mask_zero=True)(ids)
    x = StochasticDepth(0.5, seed=3)([x, keras.layers.Dense(4)(x)])
    x = keras.layers.LSTM(2)(x)
    model = keras.Model(ids, x)
    token_ids = np.array([[1, 2, 0, 0], [3, 4, 1, 0]], "int32")
    np.testing.assert_allclose(model(token_ids), model(token_ids[:, :3]), atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(token_ids), model(token_ids), atol=1e-6)
    assert loaded.layers[3].rate == 0.5
    for policy in ("mixed_bfloat16", "float32"):
        layer = StochasticDepth(0.5, dtype=policy)
        ones = np.ones((2, 3), "float32")
        assert layer([ones, ones], training=True).dtype == layer.compute_dtype


def test_rate_of_one_is_refused():
    with pytest.raises(ValueError, match="rate is 1"):
        StochasticDepth(1)
