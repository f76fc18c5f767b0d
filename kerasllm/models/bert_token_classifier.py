"""BERT with a classifier over each token."""

import keras

from kerasllm.layers import Dropout
from kerasllm.models.bert_model import BertModel, bert_initializer, make_inputs
from kerasllm.models.checks import check_classes


@keras.saving.register_keras_serializable(package="kerasllm")
class BertTokenClassifier(BertModel, keras.Model):
    """Gives each token a class, as named-entity recognition and segmentation need it: a BERT,
    dropout over its states, a dense layer.

    The logits carry the padding mask, so that padding counts neither in a loss nor in a metric that
    regards Keras's masks, as `keras.losses.SparseCategoricalCrossentropy` and `"accuracy"` do.

    Examples:

    >>> backbone = kerasllm.models.BertBackbone.from_preset("small", pooler_activation=None)
    >>> model = kerasllm.models.BertTokenClassifier(backbone, num_classes=7)
    >>> model.compile(
    ...     optimizer=kerasllm.optimizers.AdamW(3e-5),
    ...     loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ... )
    >>> model.fit(tokenizer.encode(texts), tags)  # ints (rows, time)

    Args:
        backbone: A `BertBackbone`, best without a pooler (`pooler_activation=None`), as it is not
            used. The model takes the backbone's dtype policy.
        num_classes: Number of classes, 2 or more.
        dropout: Rate at which the states are dropped in training; that of the backbone by default.
        **kwargs: `name` and `trainable` of `keras.Model`.

    Call arguments:
        inputs: A dict of `token_ids`, `segment_ids` and `padding_mask`, each `(batch, time)`; see
            `BertModel`.

    Returns:
        Logits, float32 `(batch, time, num_classes)`.

    Raises:
        ValueError: If there are fewer than 2 classes.
    """

    def __init__(self, backbone, num_classes, dropout=None, **kwargs):
        check_classes(num_classes)
        dropout = backbone.dropout if dropout is None else dropout

        # === Layers ===
        output_dropout = Dropout(dropout, dtype=backbone.dtype_policy, name="output_dropout")
        output_dense = keras.layers.Dense(
            num_classes, kernel_initializer=bert_initializer(), dtype="float32", name="logits"
        )

        # === Functional model ===
        inputs = make_inputs()
        x = output_dropout(backbone(inputs)["sequence_output"])
        super().__init__(inputs=inputs, outputs=output_dense(x), **kwargs)

        # === Config ===
        self.backbone = backbone
        self.output_dense = output_dense
        self.num_classes = num_classes
        self.dropout = dropout
        self.dtype_policy = backbone.dtype_policy  # what compile scales the loss by
