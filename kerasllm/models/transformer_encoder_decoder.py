"""The sequence-to-sequence transformer."""

import functools

import keras
from keras import ops

from kerasllm.layers import (
    Dropout,
    Embedding,
    LayerNormalization,
    SinePositionEncoding,
    TransformerDecoderBlock,
    TransformerEncoderBlock,
)
from kerasllm.models.checks import check_heads, check_positive
from kerasllm.models.model_config import ModelConfig


@keras.saving.register_keras_serializable(package="kerasllm")
class TransformerEncoderDecoder(ModelConfig, keras.Model):
    """Turns one sequence of tokens into another (Vaswani et al., Attention Is All You Need, 2017).

    Token id 0 is padding in both sequences. The decoder is trained on the target shifted by one: it
    is given `start, a, b, c` and is to say `a, b, c, end`. The logits carry the target's mask, so
    Keras's losses and metrics leave padding out.

    Examples:

    >>> model = kerasllm.models.TransformerEncoderDecoder(8000, 8000)
    >>> model.compile(
    ...     kerasllm.optimizers.AdamW(3e-4),
    ...     keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ... )
    >>> model.fit({"source_token_ids": source, "target_token_ids": target[:, :-1]}, target[:, 1:])
    >>> model.generate(source, start_id=1, end_id=2, max_length=40)

    Args:
        source_vocabulary_size: Number of token ids of the source.
        target_vocabulary_size: Number of token ids of the target.
        hidden_dim: Size of a token's vector in all blocks. 256 by default.
        num_layers: Number of encoder blocks and of decoder blocks. 2 by default.
        num_heads: Number of attention heads. 4 by default.
        feed_forward_dim: Size of the hidden layer of the feed-forward branches; 4 times
            `hidden_dim` by default.
        dropout: Rate at which embeddings, attention weights and results of branches are dropped in
            training. 0.1 by default.
        pre_norm: Whether a branch normalises its input or its sum; see `TransformerBlock`. True by
            default.
        dtype: Dtype or dtype policy, such as `"mixed_bfloat16"`. The logits stay float32.
        **kwargs: `name` and `trainable` of `keras.Model`.

    Call arguments:
        inputs: A dict of `"source_token_ids"`, int32 `(batch, source_length)`, and
            `"target_token_ids"`, int32 `(batch, target_length)`.

    Returns:
        Logits, float32 `(batch, target_length, target_vocabulary_size)`.

    Raises:
        ValueError: If a size is no positive integer, or `num_heads` does not divide `hidden_dim`.
    """

    def __init__(
        self,
        source_vocabulary_size,
        target_vocabulary_size,
        hidden_dim=256,
        num_layers=2,
        num_heads=4,
        feed_forward_dim=None,
        dropout=0.1,
        pre_norm=True,
        dtype=None,
        **kwargs,
    ):
        check_positive(
            source_vocabulary_size=source_vocabulary_size,
            target_vocabulary_size=target_vocabulary_size,
            num_layers=num_layers,
        )
        check_heads(hidden_dim, num_heads)
        feed_forward_dim = feed_forward_dim or 4 * hidden_dim
        block_options = {
            "num_heads": num_heads,
            "feed_forward_dim": feed_forward_dim,
            "dropout": dropout,
            "pre_norm": pre_norm,
            "dtype": dtype,
        }

        # === Layers ===
        source_embedding = _SequenceEmbedding(
            source_vocabulary_size, hidden_dim, dropout, dtype=dtype, name="source_embedding"
        )
        target_embedding = _SequenceEmbedding(
            target_vocabulary_size, hidden_dim, dropout, dtype=dtype, name="target_embedding"
        )
        encoder_blocks = [
            TransformerEncoderBlock(**block_options, name=f"encoder_block_{index}")
            for index in range(num_layers)
        ]
        decoder_blocks = [
            TransformerDecoderBlock(**block_options, name=f"decoder_block_{index}")
            for index in range(num_layers)
        ]
        encoder_norm = LayerNormalization(epsilon=1e-6, dtype=dtype, name="encoder_norm")
        decoder_norm = LayerNormalization(epsilon=1e-6, dtype=dtype, name="decoder_norm")
        output_dense = keras.layers.Dense(target_vocabulary_size, dtype="float32", name="logits")

        # === Functional model ===
        inputs = {
            name: keras.Input((None,), dtype="int32", name=name)
            for name in ("source_token_ids", "target_token_ids")
        }
        context = source_embedding(inputs["source_token_ids"])
        for block in encoder_blocks:
            context = block(context)
        context = encoder_norm(context)
        x = target_embedding(inputs["target_token_ids"])
        for block in decoder_blocks:
            x = block(x, context=context)
        logits = output_dense(decoder_norm(x))
        super().__init__(inputs=inputs, outputs=logits, **kwargs)

        # === Config ===
        self.source_vocabulary_size = source_vocabulary_size
        self.target_vocabulary_size = target_vocabulary_size
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.feed_forward_dim = feed_forward_dim
        self.dropout = dropout
        self.pre_norm = pre_norm
        self.dtype_policy = source_embedding.dtype_policy  # what compile scales the loss by
        self._encoder_blocks, self._decoder_blocks = encoder_blocks, decoder_blocks

    def generate(self, source_token_ids, start_id, end_id, max_length=64):
        """The likeliest target token by token (greedy decoding).

        Args:
            source_token_ids: int32 `(batch, source_length)`, 0 at padding.
            start_id: The id that begins a target.
            end_id: The id that ends one.
            max_length: Most tokens of a target, the end included. 64 by default.

        Returns:
            int32 array `(batch, max_length)`, without the start; 0 after the end.
        """
        source_token_ids = ops.convert_to_tensor(source_token_ids, dtype="int32")
        generate = self._generate_function(int(start_id), int(end_id), int(max_length))
        return ops.convert_to_numpy(generate(source_token_ids))

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a compiled function lives as long as the model
    def _generate_function(self, start_id, end_id, max_length):
        def generate(source_token_ids):
            return self._greedy(source_token_ids, start_id, end_id, max_length)

        if keras.backend.backend() != "tensorflow":
            return generate
        import tensorflow as tf

        return tf.function(generate, reduce_retracing=True)

    def _greedy(self, source_token_ids, start_id, end_id, max_length):
        context_mask = ops.not_equal(source_token_ids, 0)
        context = self.get_layer("source_embedding")(source_token_ids)
        for block in self._encoder_blocks:
            context = block(context, mask=context_mask)
        context = self.get_layer("encoder_norm")(context)
        key_values = [block.context_keys_and_values(context) for block in self._decoder_blocks]
        batch = ops.shape(source_token_ids)[0]
        caches = [block.make_cache(batch, max_length) for block in self._decoder_blocks]
        tokens = ops.full((batch, 1), start_id, dtype="int32")
        running = ops.ones((batch, 1), dtype="bool")
        results = ops.zeros((batch, max_length), dtype="int32")

        def go_on(index, tokens, running, results, caches):
            return ops.logical_and(index < max_length, ops.any(running))

        def step(index, tokens, running, results, caches):
            x = self.get_layer("target_embedding")(tokens, start_index=index)
            new_caches = []
            for block, cache, key_value in zip(
                self._decoder_blocks, caches, key_values, strict=True
            ):
                x, cache = block(
                    x,
                    context_key_value=key_value,
                    context_mask=context_mask,
                    cache=cache,
                    start_index=index,
                )
                new_caches.append(cache)
            logits = self.get_layer("logits")(self.get_layer("decoder_norm")(x))
            tokens = ops.cast(ops.argmax(logits, axis=-1), "int32")
            tokens = ops.where(running, tokens, 0)
            results = ops.slice_update(results, (0, index), tokens)
            running = ops.logical_and(running, ops.not_equal(tokens, end_id))
            return index + 1, tokens, running, results, new_caches

        state = (ops.convert_to_tensor(0, "int32"), tokens, running, results, caches)
        return ops.while_loop(go_on, step, state)[3]


@keras.saving.register_keras_serializable(package="kerasllm")
class _SequenceEmbedding(keras.layers.Layer):
    """Token embeddings times the square root of their size, plus sinusoidal positions, dropped."""

    def __init__(self, vocabulary_size, embedding_dim, dropout, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size, self.embedding_dim = vocabulary_size, embedding_dim
        self.dropout = dropout
        self.tokens = Embedding(
            vocabulary_size,
            embedding_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=embedding_dim**-0.5),
            mask_zero=True,
            dtype=self.dtype_policy,
            name="tokens",
        )
        self.positions = SinePositionEncoding(dtype=self.dtype_policy, name="positions")
        self.output_dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.supports_masking = True

    def build(self, token_ids_shape):
        self.tokens.build(token_ids_shape)

    def call(self, token_ids, start_index=0, training=False):
        x = self.tokens(token_ids) * self.embedding_dim**0.5
        return self.output_dropout(
            x + self.positions(x, start_index=start_index), training=training
        )

    def compute_mask(self, token_ids, mask=None):
        return ops.not_equal(token_ids, 0)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "embedding_dim": self.embedding_dim,
            "dropout": self.dropout,
        }
