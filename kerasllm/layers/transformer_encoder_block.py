"""The transformer's encoder block."""

import keras

from kerasllm.layers.transformer_block import TransformerBlock


@keras.saving.register_keras_serializable(package="kerasllm")
class TransformerEncoderBlock(TransformerBlock):
    """Self-attention and a feed-forward branch (Vaswani et al., Attention Is All You Need, 2017).

    The arguments are those of `TransformerBlock`.

    Examples:

    >>> block = kerasllm.layers.TransformerEncoderBlock(num_heads=4, feed_forward_dim=1024)
    >>> block(np.random.rand(2, 10, 256)).shape
    TensorShape([2, 10, 256])

    Call arguments:
        inputs: `(batch, time, dim)`.
        mask: bool `(batch, time)`, false at padding, which no position attends to. By default the
            mask that the inputs carry, as those of an embedding with `mask_zero=True` do.
        attention_mask: bool, broadcastable to `(batch, num_heads, time, time)`, true where a query
            sees a key, such as within the documents of a packed row; instead of `mask`.
        causal: Whether a position attends only to itself and those before it. False by default.
        training: Whether dropout is on.

    Returns:
        `(batch, time, dim)`.
    """

    def build(self, inputs_shape):
        dim = inputs_shape[-1]
        self.attention = self._attention(dim, "attention")
        self.attention.build((None, None, dim))
        self.attention_norm = self._normalization(dim, "attention_norm")
        self._build_feed_forward(dim)
        self.feed_forward_norm = self._normalization(dim, "feed_forward_norm")

    def call(self, inputs, mask=None, attention_mask=None, causal=False, training=False):
        def attend(states):
            return self.attention(
                states,
                context_mask=mask,
                attention_mask=attention_mask,
                causal=causal,
                training=training,
            )

        branches = [
            (attend, self.attention_norm),
            (self._feed_forward(training), self.feed_forward_norm),
        ]
        return self._run_branches(branches, inputs, training)
