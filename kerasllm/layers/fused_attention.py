"""What the attention layers share: from Keras's masks to the attention op."""

from keras import ops

from kerasllm.layers.projection import project
from kerasllm.ops.attention import attention
from kerasllm.ops.random import draw_seed


class FusedAttentionLayer:
    """Mixed in before an attention layer of Keras: the op where it serves, else Keras's own path.

    A subclass has `why_not_fused`, and `_call_fused`, which calls `_attend`.
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
        return self._call_fused(
            query,
            value,
            value if key is None else key,
            query_mask=query_mask,
            key_masks=[value_mask, key_mask],
            attention_mask=attention_mask,
            causal=use_causal_mask,
            training=training,
        )

    def _fused(self, query, attention_mask):
        """Whether the op computes what this call asks for."""
        if len(query.shape) != 3:
            return False
        if attention_mask is not None and len(attention_mask.shape) > 4:
            return False
        return self.why_not_fused() is None

    def _attend(self, query, value, key, use_gate, **options):
        """Projections and gate around `fused_attention`, whose options these are."""
        outputs = fused_attention(
            project(self._query_dense, query),
            project(self._key_dense, key),
            project(self._value_dense, value),
            dropout_layer=self._dropout_layer,
            **options,
        )
        if use_gate:
            outputs = ops.multiply(outputs, self._gate_dense(query))
        return project(self._output_dense, outputs, num_axes=2)


def fused_attention(
    query,
    key,
    value,
    scale,
    query_mask,
    key_masks,
    attention_mask,
    causal,
    window,
    dropout_layer,
    training,
):
    """Attention with the masks that Keras's attention layers take, none of them spread out to
    (batch, query_length, key_length) unless it comes so.

    Args:
        query: `(batch, query_length, num_heads, head_dim)`.
        key: `(batch, key_length, num_key_value_heads, head_dim)`.
        value: `(batch, key_length, num_key_value_heads, value_dim)`.
        scale: A float.
        query_mask: `(batch, query_length)`, or None.
        key_masks: A list of masks `(batch, key_length)`, each of which may be None.
        attention_mask: `(..., query_length, key_length)` with up to two axes before, or None.
        causal: Whether a query sees no key after its own place.
        window: Keys seen on either side, the query's own place included, or None.
        dropout_layer: The layer whose rate and seed generator hold.
        training: Whether dropout is on.

    Returns:
        `(batch, query_length, num_heads, value_dim)`.
    """
    masks = [
        ops.expand_dims(ops.cast(mask, "bool"), (1, 2)) for mask in key_masks if mask is not None
    ]
    if attention_mask is not None:
        attention_mask = ops.cast(attention_mask, "bool")
        while len(attention_mask.shape) < 4:  # as Keras does: (batch, 1, query_length, key_length)
            attention_mask = ops.expand_dims(attention_mask, axis=-3)
        if attention_mask.shape[-1] == 1:
            masks.append(ops.ones((1, 1, 1, ops.shape(key)[1]), dtype="bool"))
        masks.append(attention_mask)
    mask = masks[0] if masks else None
    for other in masks[1:]:
        mask = ops.logical_and(mask, other)
    rate = dropout_layer.rate if training else 0.0
    return attention(
        query,
        key,
        value,
        mask=mask,
        causal=causal,
        window=window,
        query_mask=None if query_mask is None else ops.cast(query_mask, "bool"),
        scale=scale,
        dropout_rate=rate,
        seed=draw_seed(dropout_layer.seed_generator) if rate else None,
    )
