"""keras.layers.GroupQueryAttention on the fused attention op."""

import keras

from kerasllm.layers.fused_attention import FusedAttentionLayer
from kerasllm.ops.attention import why_attention_not_served


@keras.saving.register_keras_serializable(package="kerasllm")
class GroupedQueryAttention(FusedAttentionLayer, keras.layers.GroupQueryAttention):
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
        Those of `kerasllm.layers.MultiHeadAttention`; `query`, `value` and `key` have one `dim`.

    Returns:
        `(batch, query_length, dim)`; with `return_attention_scores` a tuple of that and the scores,
        `(batch, num_query_heads, query_length, key_length)`.
    """

    def _call_fused(self, query, value, key, **options):
        return self._attend(
            query,
            value,
            key,
            use_gate=self.use_gate,
            scale=self._inverse_sqrt_head_dim,
            window=self.sliding_window,
            **options,
        )

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
