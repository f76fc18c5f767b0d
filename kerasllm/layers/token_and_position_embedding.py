"""Token embeddings with learned positions, and segments as in BERT."""

import keras
from keras import ops

from kerasllm.ops.embedding import embedding


@keras.saving.register_keras_serializable(package="kerasllm")
class TokenAndPositionEmbedding(keras.layers.Layer):
    """The sum of a token's, its position's and, if asked for, its segment's embedding.

    What a BERT or a GPT begins with (Devlin, Chang, Lee and Toutanova, BERT: Pre-training of Deep
    Bidirectional Transformers, 2019). On TensorFlow the three lookups and the sum are one pass
    over memory, and so are their gradients.

    Examples:

    >>> layer = kerasllm.layers.TokenAndPositionEmbedding(21128, 512, 256, num_segments=2)
    >>> layer(np.ones((8, 100), "int32"), segment_ids=np.zeros((8, 100), "int32")).shape
    TensorShape([8, 100, 256])

    Args:
        vocabulary_size: Number of token ids.
        sequence_length: Number of positions: the longest sequence.
        embedding_dim: Size of a vector.
        num_segments: Number of segment ids, or None for no segments.
        mask_zero: Whether token id 0 is padding, which layers behind this one leave out.
        embeddings_initializer: Keras initializer of the tables.
        embeddings_regularizer: Keras regularizer of the tables, or None.
        **kwargs: `name`, `dtype` and `trainable` of every layer.

    Call arguments:
        token_ids: ints `(batch, time)`, time at most `sequence_length`.
        segment_ids: ints `(batch, time)`; all 0 by default. Only with `num_segments`.
        start_index: The position of the first step, an int or a scalar tensor: when a text is
            made token by token, the number of tokens before.

    Returns:
        `(batch, time, embedding_dim)`.

    Raises:
        ValueError: If `segment_ids` are given to a layer without segments.
    """

    def __init__(
        self,
        vocabulary_size,
        sequence_length,
        embedding_dim,
        num_segments=None,
        mask_zero=True,
        embeddings_initializer="uniform",
        embeddings_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.sequence_length = sequence_length
        self.embedding_dim = embedding_dim
        self.num_segments = num_segments
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.embeddings_regularizer = keras.regularizers.get(embeddings_regularizer)

    def build(self, input_shape=None):
        def table(rows, name):
            return self.add_weight(
                shape=(rows, self.embedding_dim),
                initializer=_clone(self.embeddings_initializer),
                regularizer=self.embeddings_regularizer,
                autocast=False,  # the op rounds the sums to the compute dtype
                name=name,
            )

        self.token_embeddings = table(self.vocabulary_size, "token_embeddings")
        self.position_embeddings = table(self.sequence_length, "position_embeddings")
        self.segment_embeddings = (
            table(self.num_segments, "segment_embeddings") if self.num_segments else None
        )
        self.built = True

    @property
    def embeddings(self):
        """The tokens' table, by the name that it has in `keras.layers.Embedding`."""
        return self.token_embeddings

    def call(self, token_ids, segment_ids=None, start_index=0):
        if segment_ids is not None and not self.num_segments:
            raise ValueError(
                f"segment_ids are given, but the layer {self.name!r} was made without num_segments."
            )
        if segment_ids is None and self.num_segments:
            segment_ids = ops.zeros_like(token_ids)
        return embedding(
            token_ids,
            self.token_embeddings,
            self.position_embeddings,
            segment_ids,
            self.segment_embeddings,
            start_index,
            self.compute_dtype,
        )

    def compute_mask(self, token_ids, mask=None):
        return ops.not_equal(token_ids, 0) if self.mask_zero else None

    def compute_output_shape(self, token_ids_shape, segment_ids_shape=None):
        return (*token_ids_shape, self.embedding_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "sequence_length": self.sequence_length,
            "embedding_dim": self.embedding_dim,
            "num_segments": self.num_segments,
            "mask_zero": self.mask_zero,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": keras.regularizers.serialize(self.embeddings_regularizer),
        }


def _clone(initializer):
    """Another initializer of this kind, whose random numbers are its own."""
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer.clone()
    return initializer
