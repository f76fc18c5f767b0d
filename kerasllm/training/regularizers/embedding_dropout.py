"""Dropout of whole words and of whole features of the embeddings."""

from kerasllm.ops import dropout
from kerasllm.training.regularizers.base import Regularizer
from kerasllm.training.regularizers.lazy_tensorflow import tf


class WordDropout(Regularizer):
    """Reads words as unknown: some of a text's tokens, drawn anew in every pass.

    Padding stays. It costs no further pass.

    Source: Iyyer, Manjunatha, Boyd-Graber, Daumé, Deep Unordered Composition Rivals Syntactic
    Methods for Text Classification, 2015; Dai, Le, Semi-supervised Sequence Learning, 2015.

    Examples:

    >>> kerasllm.training.regularize(model, [kerasllm.training.WordDropout(rate=0.1)])

    Args:
        rate: The share of tokens.
        unknown_id: The id that they get, that of `kerasllm.text.Vocabulary` by default; or None for
            a vector of zeros.

    Raises:
        ValueError: If `rate` is not in `[0, 1)`.
    """

    def __init__(self, rate=0.1, unknown_id=1):
        self.rate = check_rate(rate)
        self.unknown_id = unknown_id

    def replace_ids(self, token_ids, mask, noise):
        if self.unknown_id is None:
            return token_ids
        dropped = dropout(tf.ones(tf.shape(token_ids)), self.rate, noise) == 0
        return tf.where(dropped & mask, tf.cast(self.unknown_id, token_ids.dtype), token_ids)

    def change_embeddings(self, embeddings, mask, noise, inputs):
        if self.unknown_id is not None:
            return embeddings
        kept = dropout(tf.ones(tf.shape(mask)), self.rate, noise) > 0
        return embeddings * tf.cast(kept, embeddings.dtype)[..., None]


class SpatialDropout(Regularizer):
    """Drops features of the embeddings, each over the whole text, and scales up the rest.

    What `keras.layers.SpatialDropout1D` does, for a model that lacks the layer. It costs no further
    pass.

    Source: Tompson, Goroshin, Jain, LeCun, Bregler, Efficient Object Localization Using
    Convolutional Networks, 2015.

    Examples:

    >>> kerasllm.training.regularize(model, [kerasllm.training.SpatialDropout(rate=0.2)])

    Args:
        rate: The share of features.

    Raises:
        ValueError: If `rate` is not in `[0, 1)`.
    """

    def __init__(self, rate=0.2):
        self.rate = check_rate(rate)

    def change_embeddings(self, embeddings, mask, noise, inputs):
        batch, _, dim = tf.unstack(tf.shape(embeddings))
        factors = dropout(tf.ones((batch, dim)), self.rate, noise)
        return embeddings * tf.cast(factors, embeddings.dtype)[:, None]


def check_rate(rate):
    """The rate, if it is in `[0, 1)`.

    Raises:
        ValueError: If it is not.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate is {rate}; expected a number from 0, below 1.")
    return rate
