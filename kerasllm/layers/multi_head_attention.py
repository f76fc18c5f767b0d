"""keras.layers.MultiHeadAttention on the fused attention op."""

import keras

from kerasllm.layers.fused_attention import FusedAttentionLayer
from kerasllm.ops.attention import why_attention_not_served


@keras.saving.register_keras_serializable(package="kerasllm")
class MultiHeadAttention(FusedAttentionLayer, keras.layers.MultiHeadAttention):
    """Multi-head attention (Vaswani et al., Attention Is All You Need, 2017):
    `keras.layers.MultiHeadAttention` without the matrix of attention scores.

    Constructor, call arguments, weights and results are those of `keras.layers.MultiHeadAttention`,
    and weights go both ways. The op serves sequences `(batch, time, dim)` in float32 and bfloat16
    with any mask, with dropout in training, causal masks and sliding windows. The rest
    (`return_attention_scores`, several attention axes, `key_dim` or `value_dim` above 256, float16
    and float64, `flash_attention=True`) runs Keras's own attention.

    A query that no mask lets see a key gives zeros before the output projection; Keras gives it the
    mean of all values. The elements that dropout drops are others than Keras's, as its random
    numbers are.

    Examples:

    >>> layer = kerasllm.layers.MultiHeadAttention(num_heads=8, key_dim=64, dropout=0.1)
    >>> x = np.random.rand(2, 10, 512)
    >>> layer(x, x, use_causal_mask=True).shape
    TensorShape([2, 10, 512])

    Args:
        num_heads: Number of attention heads.
        key_dim: Size of a head of query and key.
        **kwargs: Every other argument of `keras.layers.MultiHeadAttention`.

    Call arguments:
        query: `(batch, query_length, dim)`.
        value: `(batch, key_length, value_input_dim)`.
        key: `(batch, key_length, key_input_dim)`; `value` by default.
        query_mask: bool `(batch, query_length)`; like `value_mask` and `key_mask`, by default that
            which comes with the tensor.
        value_mask: bool `(batch, key_length)`.
        key_mask: bool `(batch, key_length)`.
        attention_mask: bool `(batch, query_length, key_length)`, or with an axis for heads.
        return_attention_scores: Whether to return the scores too.
        training: Whether dropout is on.
        use_causal_mask: Whether a query sees no key after its own place.

    Returns:
        `(batch, query_length, output_dim)`; with `return_attention_scores` a tuple of that and the
        scores, `(batch, num_heads, query_length, key_length)`.
    """

    def _call_fused(self, query, value, key, query_mask, **options):
        # As Keras does: the query's mask is the one that came with it, and becomes the output's.
        query_mask = getattr(query, "_keras_mask", None)
        for tensor in (query, value, key):
            if getattr(tensor, "_keras_mask", None) is not None:
                tensor._keras_mask = None
        outputs = self._attend(
            query,
            value,
            key,
            use_gate=self._use_gate,
            scale=self._inverse_sqrt_key_dim,
            window=self._sliding_window,
            query_mask=query_mask,
            **options,
        )
        if query_mask is not None:
            outputs._keras_mask = query_mask
        return outputs

    def why_not_fused(self):
        """Why Keras's own attention runs, as a sentence; None where the op serves."""
        if type(self)._compute_attention is not keras.layers.MultiHeadAttention._compute_attention:
            return "it has an attention of its own"
        if self._attention_axes is not None and tuple(self._attention_axes) != (1,):
            return "it attends over other axes than the second"
        if self._flash_attention:
            return "flash_attention is True"
        return why_attention_not_served(self.compute_dtype, self._key_dim, self._value_dim)
