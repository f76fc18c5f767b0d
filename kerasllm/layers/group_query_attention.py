"""keras.layers.GroupQueryAttention on the fused attention op."""

import keras
from keras import ops

from kerasllm.layers.fused_attention import fused_attention
from kerasllm.layers.projection import project
from kerasllm.ops.attention import why_attention_not_served


@keras.saving.register_keras_serializable(package="kerasllm")
class GroupedQueryAttention(keras.layers.GroupQueryAttention):
    """Grouped-query attention (Ainslie et al., GQA: Training Generalized Multi-Query Transformer
    Models from Multi-Head Checkpoints, 2023): `keras.layers.GroupQueryAttention` without the matrix
    of attention scores and without repeated keys and values.

    Constructor, call arguments, weights and results are those of
    `keras.layers.GroupQueryAttention`, and weights go both ways. What the op serves, and what takes
    Keras's own path, is as in `kerasllm.layers.MultiHeadAttention`; so are a query that sees no key
    and the elements that dropout drops.

    Examples:

    >>> layer = kerasllm.layers.GroupQueryAttention(64, num_query_heads=8, num_key_value_heads=2)
    >>> x = np.random.rand(2, 10, 512)
    >>> layer(x, x, use_causal_mask=True).shape
    TensorShape([2, 10, 512])

    Args:
        head_dim: Size of a head.
        num_query_heads: Number of query heads, a multiple of `num_key_value_heads`.
        num_key_value_heads: Number of key and value heads.
        **kwargs: Every other argument of `keras.layers.GroupQueryAttention`.

    Call arguments:
        query: `(batch, query_length, dim)`.
        value: `(batch, key_length, dim)`.
        key: `(batch, key_length, dim)`; `value` by default.
        query_mask: bool `(batch, query_length)`; like `value_mask` and `key_mask`, by default that
            which comes with the tensor.
        value_mask: bool `(batch, key_length)`.
        key_mask: bool `(batch, key_length)`.
        attention_mask: bool `(batch, query_length, key_length)`, or with an axis for heads.
        return_attention_scores: Whether to return the scores too.
        training: Whether dropout is on.
        use_causal_mask: Whether a query sees no key after its own place.

    Returns:
        `(batch, query_length, dim)`; with `return_attention_scores` a tuple of that and the scores,
        `(batch, num_query_heads, query_length, key_length)`.
    """

    def call(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        return_attention_scores=False,
        training=None,
        use_causal_mask=False,
    ):
        if return_attention_scores or not self._fused(query, attention_mask):
            return super().call(
                query,
                value,
                key=key,
                query_mask=query_mask,
                value_mask=value_mask,
                key_mask=key_mask,
                attention_mask=attention_mask,
                return_attention_scores=return_attention_scores,
                training=training,
                use_causal_mask=use_causal_mask,
            )
        key = value if key is None else key
        outputs = fused_attention(
            project(self._query_dense, query),
            project(self._key_dense, key),
            project(self._value_dense, value),
            scale=self._inverse_sqrt_head_dim,
            query_mask=query_mask,
            key_masks=[value_mask, key_mask],
            attention_mask=attention_mask,
            causal=use_causal_mask,
            window=self.sliding_window,
            dropout_layer=self._dropout_layer,
            training=training,
        )
        if self.use_gate:
            outputs = ops.multiply(outputs, self._gate_dense(query))
        return project(self._output_dense, outputs, num_axes=2)

    def _fused(self, query, attention_mask):
        """Whether the op computes what this call asks for."""
        if len(query.shape) != 3:
            return False
        if attention_mask is not None and len(attention_mask.shape) > 4:
            return False
        return self.why_not_fused() is None

    def why_not_fused(self):
        """Why Keras's own attention runs, as a sentence; None where the op serves."""
        if type(self)._compute_attention is not keras.layers.GroupQueryAttention._compute_attention:
            return "it has an attention of its own"
        if self._flash_attention:
            return "flash_attention is True"
        return why_attention_not_served(self.compute_dtype, self.head_dim)


# Keras's public name of the class, which is GroupedQueryAttention there too: weights files name
# layers by it.
GroupQueryAttention = GroupedQueryAttention
