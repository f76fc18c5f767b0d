"""What dropout of words and of features drops."""

import numpy as np
import pytest
import tensorflow as tf

from kerasllm.training import (
    SpatialDropout,
    WordDropout,
)


@pytest.mark.parametrize("unknown_id", [1, None])
def test_word_dropout_drops_words_and_no_padding(unknown_id):
    regularizer, noise = WordDropout(0.3, unknown_id), tf.constant([3, 4], "int32")
    token_ids = np.full((200, 100), 9, "int32")
    token_ids[:, 60:] = 0
    mask = tf.constant(token_ids != 0)
    changed = regularizer.replace_ids(tf.constant(token_ids), mask, noise).numpy()
    embeddings = regularizer.change_embeddings(tf.ones((200, 100, 2)), mask, noise, None)
    dropped = (changed == 1) if unknown_id else (embeddings.numpy() == 0).all(-1)
    assert dropped[:, :60].mean() == pytest.approx(0.3, abs=0.02)
    assert (changed[:, 60:] == 0).all()
    kept = changed[~dropped]
    assert set(kept.tolist()) <= {0, 9}


def test_spatial_dropout_drops_features_over_the_whole_text():
    embeddings = SpatialDropout(0.25).change_embeddings(
        tf.ones((100, 12, 40)), None, tf.constant([3, 4], "int32"), None
    )
    embeddings = embeddings.numpy()
    assert (embeddings == embeddings[:, :1]).all()
    assert set(np.unique(embeddings)) == {0, np.float32(1 / 0.75)}
    assert (embeddings == 0).mean() == pytest.approx(0.25, abs=0.02)
