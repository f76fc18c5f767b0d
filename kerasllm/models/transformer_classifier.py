"""The transformer text classifier."""

import keras

from kerasllm.layers import (
    Dropout,
    LayerNormalization,
    MaskedMaxPooling1D,
    MaskedMeanPooling1D,
    TokenAndPositionEmbedding,
    TransformerEncoderBlock,
)
from kerasllm.models.checks import check_classifier, check_heads, check_positive
from kerasllm.models.model_config import ModelConfig

POOLINGS = {"mean": MaskedMeanPooling1D, "max": MaskedMaxPooling1D}


@keras.saving.register_keras_serializable(package="kerasllm")
class TransformerClassifier(ModelConfig, keras.Model):
    """Classifies texts: token and position embeddings, encoder blocks, pooling, a dense layer.

    Token id 0 is padding and takes no part; the model is therefore indifferent to how far a batch
    is padded.

    Examples:

    >>> model = kerasllm.models.TransformerClassifier(vocabulary_size=20000, num_classes=3)
    >>> model.compile(
    ...     optimizer=kerasllm.optimizers.AdamW(3e-4),
    ...     loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ...     metrics=["accuracy"],
    ... )
    >>> model.fit(token_ids, labels)  # ints (rows, time) and (rows,)

    Args:
        vocabulary_size: Number of token ids, those of padding and unknown words included.
        num_classes: Number of classes, 2 or more.
        hidden_dim: Size of a token's vector in all blocks. 256 by default.
        num_layers: Number of encoder blocks. 2 by default.
        num_heads: Number of attention heads. 4 by default.
        feed_forward_dim: Size of the hidden layer of the feed-forward branch; 4 times `hidden_dim`
            by default.
        max_length: Longest text, in tokens. 512 by default.
        pooling: What stands for a text: the `"mean"` or the `"max"` over its tokens.
        dropout: Rate at which embeddings, attention weights, results of branches and the pooled
            text are dropped in training. 0.1 by default.
        pre_norm: Whether a branch normalises its input or its sum; see `TransformerBlock`. False by
            default.
        kernel_regularizer: Keras regularizer of the last dense layer's kernel.
        dtype: Dtype or dtype policy, such as `"mixed_bfloat16"`. The logits stay float32.
        **kwargs: `name` and `trainable` of `keras.Model`.

    Call arguments:
        inputs: int32 `(batch, time)`, token ids.

    Returns:
        Logits, float32 `(batch, num_classes)`.

    Raises:
        ValueError: If an argument makes no sense.
    """

    def __init__(
        self,
        vocabulary_size,
        num_classes,
        hidden_dim=256,
        num_layers=2,
        num_heads=4,
        feed_forward_dim=None,
        max_length=512,
        pooling="mean",
        dropout=0.1,
        pre_norm=False,
        kernel_regularizer=None,
        dtype=None,
        **kwargs,
    ):
        check_classifier(vocabulary_size, num_classes, pooling, POOLINGS)
        check_heads(hidden_dim, num_heads)
        check_positive(num_layers=num_layers, max_length=max_length)
        feed_forward_dim = feed_forward_dim or 4 * hidden_dim
        kernel_regularizer = keras.regularizers.get(kernel_regularizer)

        # === Layers ===
        embedding = TokenAndPositionEmbedding(
            vocabulary_size, max_length, hidden_dim, mask_zero=True, dtype=dtype, name="embedding"
        )
        norm = LayerNormalization(epsilon=1e-6, dtype=dtype, name="norm")
        blocks = [
            TransformerEncoderBlock(
                num_heads,
                feed_forward_dim,
                dropout=dropout,
                pre_norm=pre_norm,
                dtype=dtype,
                name=f"block_{index}",
            )
            for index in range(num_layers)
        ]
        pooling_layer = POOLINGS[pooling](dtype=dtype, name="pooling")

        # === Functional model ===
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        x = embedding(token_ids)
        if not pre_norm:
            x = norm(x)
        x = Dropout(dropout, dtype=dtype, name="embedding_dropout")(x)
        for block in blocks:
            x = block(x)
        if pre_norm:
            x = norm(x)
        x = pooling_layer(x)
        x = Dropout(dropout, dtype=dtype, name="pooled_dropout")(x)
        logits = keras.layers.Dense(
            num_classes, kernel_regularizer=kernel_regularizer, dtype="float32", name="logits"
        )(x)
        super().__init__(inputs=token_ids, outputs=logits, **kwargs)

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_classes = num_classes
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.feed_forward_dim = feed_forward_dim
        self.max_length = max_length
        self.pooling = pooling
        self.dropout = dropout
        self.pre_norm = pre_norm
        self.kernel_regularizer = kernel_regularizer
        self.dtype_policy = embedding.dtype_policy  # what compile scales the loss by
