"""The transformer's decoder block."""

import keras

from kerasllm.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable(package="kerasllm")
class TransformerDecoderBlock(TransformerBlock):
    """Causal self-attention, cross-attention where there is a context, and a feed-forward branch
    (Vaswani et al., Attention Is All You Need, 2017).

    The arguments are those of `TransformerBlock`. Whether there is cross-attention is settled when
    the block is built, by whether it is called with a context. Rotary positions are those of the
    self-attention alone.

    Examples:

    >>> block = kerasllm.layers.TransformerDecoderBlock(num_heads=4, feed_forward_dim=1024)
    >>> block(np.random.rand(2, 10, 256), context=np.random.rand(2, 7, 256)).shape
    TensorShape([2, 10, 256])

    Call arguments:
        inputs: `(batch, time, dim)`.
        context: `(batch, context_length, context_dim)`, an encoder's outputs, or None.
        context_key_value: A pair from `context_keys_and_values`, instead of the context, for a
            context that is asked step by step.
        inputs_mask: bool `(batch, time)`, false at padding. By default the mask that the inputs
            carry. Not used with a cache.
        context_mask: bool `(batch, context_length)`, false at padding. By default the mask that the
            context carries.
        attention_mask: bool `(batch or 1, num_heads or 1, time or 1, key_length)`, true where the
            self-attention may look; instead of `inputs_mask`.
        cache: A pair from `make_cache`, a `KeyValueCache`, or None: keys and values of earlier
            positions.
        start_index: The position of the first step, an integer or int32 scalar. 0 by default.
        training: Whether dropout is on.

    Returns:
        `(batch, time, dim)`; with a cache, that and the new cache.
    """

    def build(self, inputs_shape, context_shape=None):
        dim = inputs_shape[-1]
        self.attention = self._attention(dim, "attention")
        self.attention.build((None, None, dim))
        self.attention_norm = self._normalization(dim, "attention_norm")
        self.cross_attention = None
        if context_shape is not None:
            self.cross_attention = self._attention(dim, "cross_attention", rotary=False)
            self.cross_attention.build((None, None, dim), (None, None, context_shape[-1]))
            self.cross_attention_norm = self._normalization(dim, "cross_attention_norm")
        self._build_feed_forward(dim)
        self.feed_forward_norm = self._normalization(dim, "feed_forward_norm")

    def make_cache(self, batch_size, max_length):
        """An empty cache for the self-attention; the block must be built.

        Args:
            batch_size: Number of texts.
            max_length: Most tokens of a text.

        Returns:
            See `CachedMultiHeadAttention.make_cache`.
        """
        return self.attention.make_cache(batch_size, max_length)

    def context_keys_and_values(self, context):
        """What the cross-attention makes of a context; the block must be built with one.

        Args:
            context: `(batch, context_length, dim)`.

        Returns:
            Keys and values, for `context_key_value` of the call.
        """
        return self.cross_attention.keys_and_values(context)

    def call(
        self,
        inputs,
        context=None,
        context_key_value=None,
        inputs_mask=None,
        context_mask=None,
        attention_mask=None,
        cache=None,
        start_index=0,
        training=False,
    ):
        has_context = context is not None or context_key_value is not None
        if has_context != (self.cross_attention is not None):
            built = "with" if self.cross_attention is not None else "without"
            raise ValueError(f"The block was built {built} a context; call it so.")
        new_cache = None

        def attend(states):
            nonlocal new_cache
            result = self.attention(
                states,
                context_mask=inputs_mask if cache is None else None,
                attention_mask=attention_mask,
                causal=True,
                cache=cache,
                start_index=start_index,
                training=training,
            )
            if cache is None:
                return result
            result, new_cache = result
            return result

        def cross_attend(states):
            return self.cross_attention(
                states,
                context=context,
                key_value=context_key_value,
                context_mask=context_mask,
                training=training,
            )

        branches = [(attend, self.attention_norm)]
        if self.cross_attention is not None:
            branches.append((cross_attend, self.cross_attention_norm))
        branches.append((self._feed_forward(training), self.feed_forward_norm))
        outputs = self._run_branches(branches, inputs, training)
        return outputs if cache is None else (outputs, new_cache)
