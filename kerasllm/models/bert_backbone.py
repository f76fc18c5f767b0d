"""BERT without a head."""

import keras

from kerasllm.layers import (
    Dense,
    Dropout,
    LayerNormalization,
    TokenAndPositionEmbedding,
    TransformerEncoderBlock,
)
from kerasllm.models.bert_model import BertModel, bert_initializer, make_inputs
from kerasllm.models.bert_presets import bert_preset
from kerasllm.models.checks import check_heads


@keras.saving.register_keras_serializable(package="kerasllm")
class BertBackbone(BertModel, keras.Model):
    """The encoder of BERT (Devlin, Chang, Lee and Toutanova, BERT: Pre-training of Deep
    Bidirectional Transformers for Language Understanding, 2019) and of its relatives.

    Relatives of the same form are RoBERTa-wwm (Cui et al., Pre-Training with Whole Word Masking for
    Chinese BERT, 2019), MacBERT (Cui et al., 2020) and ERNIE (Sun et al., 2019). ALBERT (Lan et
    al., 2020) has a small `embedding_dim` and one block for all layers, ELECTRA (Clark et al.,
    2020) a small `embedding_dim` and no pooler, DistilBERT (Sanh et al., 2019) neither segments nor
    pooler.

    Padding changes no result, and what a batch needs not is not computed: attention ends at the
    last token of each text.

    Examples:

    >>> backbone = kerasllm.models.BertBackbone.from_preset("tiny")
    >>> outputs = backbone(tokenizer.encode(["味道真好", "再也不来了"]))
    >>> outputs["sequence_output"].shape, outputs["pooled_output"].shape
    (TensorShape([2, 7, 128]), TensorShape([2, 128]))

    Args:
        vocabulary_size: Number of token ids.
        num_layers: Number of encoder blocks. 12 by default.
        num_heads: Number of attention heads. 12 by default.
        hidden_dim: Size of a token's vector in all blocks. 768 by default.
        feed_forward_dim: Size of the hidden layer of the feed-forward branch; 4 times `hidden_dim`
            by default.
        max_length: Longest text, in tokens. 512 by default.
        num_segments: Number of segment ids; None for a model without segments. 2 by default.
        embedding_dim: Size of the rows of the embedding tables, which a dense layer brings to
            `hidden_dim`; `hidden_dim` by default, without that layer.
        share_blocks: Whether all layers are one block. False by default.
        activation: Of the feed-forward branch. `"gelu"`, the exact one, by default;
            `kerasllm.ops.gelu_tanh` is the other one.
        pooler_activation: Of the dense layer over the first token's state that gives
            `pooled_output`: `"tanh"` by default. None for no such layer: `pooled_output` is the
            state itself.
        dropout: Rate at which embeddings and results of branches are dropped in training. 0.1 by
            default.
        attention_dropout: Rate at which attention weights are dropped; `dropout` by default.
        epsilon: Added to the variance in layer normalisations. 1e-12 by default.
        model_type: The family as which `save_pretrained` writes the weights: `"bert"` by default,
            `"albert"`, `"distilbert"`, `"electra"` or `"ernie"`.
        pooler_dropout: Rate at which the state is dropped before the dense layer of
            `pooler_activation`, as in ELECTRA's classifiers. 0.0 by default.
        dtype: Dtype or dtype policy, such as `"mixed_bfloat16"`.
        **kwargs: `name` and `trainable` of `keras.Model`.

    Call arguments:
        inputs: A dict of `token_ids`, `segment_ids` and `padding_mask`, each `(batch, time)`; see
            `BertModel`.

    Returns:
        A dict of `sequence_output`, `(batch, time, hidden_dim)`, and `pooled_output`,
        `(batch, hidden_dim)`, in the compute dtype.

    Raises:
        ValueError: If `num_heads` does not divide `hidden_dim`.
    """

    def __init__(
        self,
        vocabulary_size,
        num_layers=12,
        num_heads=12,
        hidden_dim=768,
        feed_forward_dim=None,
        max_length=512,
        num_segments=2,
        embedding_dim=None,
        share_blocks=False,
        activation="gelu",
        pooler_activation="tanh",
        dropout=0.1,
        attention_dropout=None,
        epsilon=1e-12,
        model_type="bert",
        pooler_dropout=0.0,
        dtype=None,
        **kwargs,
    ):
        check_heads(hidden_dim, num_heads)
        feed_forward_dim = feed_forward_dim or 4 * hidden_dim
        embedding_dim = embedding_dim or hidden_dim
        attention_dropout = dropout if attention_dropout is None else attention_dropout
        activation = keras.activations.get(activation)

        # === Layers ===
        embedding = TokenAndPositionEmbedding(
            vocabulary_size,
            max_length,
            embedding_dim,
            num_segments=num_segments,
            mask_zero=False,  # the padding mask is an input
            embeddings_initializer=bert_initializer(),
            dtype=dtype,
            name="embedding",
        )
        embedding_norm = LayerNormalization(epsilon=epsilon, dtype=dtype, name="embedding_norm")
        embedding_projection = pooler = None
        if embedding_dim != hidden_dim:
            embedding_projection = _dense(hidden_dim, None, dtype, "embedding_projection")
        blocks = [
            TransformerEncoderBlock(
                num_heads,
                feed_forward_dim,
                dropout=dropout,
                attention_dropout=attention_dropout,
                activation=activation,
                epsilon=epsilon,
                kernel_initializer=bert_initializer(),
                dtype=dtype,
                name=f"block_{index}",
            )
            for index in range(1 if share_blocks else num_layers)
        ]
        blocks *= num_layers if share_blocks else 1
        if pooler_activation is not None:
            pooler = _dense(hidden_dim, pooler_activation, dtype, "pooler")
        pooler_input_dropout = None
        if pooler_dropout:
            pooler_input_dropout = Dropout(pooler_dropout, dtype=dtype, name="pooler_dropout")

        # === Functional model ===
        inputs = make_inputs()
        segments = {"segment_ids": inputs["segment_ids"]} if num_segments else {}
        x = embedding_norm(embedding(inputs["token_ids"], **segments))
        x = Dropout(dropout, dtype=dtype, name="embedding_dropout")(x)
        if embedding_projection is not None:
            x = embedding_projection(x)
        for block in blocks:
            x = block(x, mask=inputs["padding_mask"])
        pooled = x[:, 0]
        if pooler_input_dropout is not None:
            pooled = pooler_input_dropout(pooled)
        outputs = {
            "sequence_output": x,
            "pooled_output": pooled if pooler is None else pooler(pooled),
        }
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

        # === Config ===
        self.embedding = embedding
        self.embedding_norm = embedding_norm
        self.embedding_projection = embedding_projection
        self.blocks = blocks  # one for each layer; the same one where they are shared
        self.pooler = pooler
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.feed_forward_dim = feed_forward_dim
        self.max_length = max_length
        self.num_segments = num_segments
        self.embedding_dim = embedding_dim
        self.share_blocks = share_blocks
        self.activation = activation
        self.pooler_activation = pooler_activation
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.epsilon = epsilon
        self.model_type = model_type
        self.pooler_dropout = pooler_dropout
        self.dtype_policy = embedding.dtype_policy  # what compile scales the loss by

    @classmethod
    def from_preset(cls, name, **arguments):
        """A backbone of a known shape, with new weights.

        Args:
            name: A name of `kerasllm.models.BERT_PRESETS`, such as `"small"` or `"chinese_base"`.
            **arguments: Of the class, instead of the preset's, such as `vocabulary_size`.

        Raises:
            ValueError: If there is no such preset.
        """
        return cls(**bert_preset(name) | arguments)

    def get_config(self):
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
        }


def _dense(units, activation, dtype, name):
    return Dense(
        units,
        activation=activation,
        kernel_initializer=bert_initializer(),
        dtype=dtype,
        name=name,
    )
