"""BERT with a classifier over the text."""

import keras

from kerasllm.layers import Dropout, MultiSampleDropout
from kerasllm.models.bert_model import BertModel, bert_initializer, make_inputs
from kerasllm.models.checks import check_classes


@keras.saving.register_keras_serializable(package="kerasllm")
class BertClassifier(BertModel, keras.Model):
    """Classifies texts, or pairs of texts: a BERT, dropout over its pooled output, a dense layer.

    Examples:

    >>> backbone = kerasllm.models.BertBackbone.from_preset("small")
    >>> model = kerasllm.models.BertClassifier(backbone, num_classes=2)
    >>> model.compile(
    ...     optimizer=kerasllm.optimizers.AdamW(2e-5),
    ...     loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ...     metrics=["accuracy"],
    ... )
    >>> model.fit(tokenizer.encode(texts), labels)

    Args:
        backbone: A `BertBackbone`. The model takes its dtype policy.
        num_classes: Number of classes, 2 or more.
        dropout: Rate at which the pooled output is dropped in training; that of the backbone by
            default.
        dropout_samples: How often it is dropped, each time with a loss of its own; see
            `kerasllm.layers.MultiSampleDropout`, which wants a cross-entropy without weights. 1 by
            default.
        **kwargs: `name` and `trainable` of `keras.Model`.

    Call arguments:
        inputs: A dict of `token_ids`, `segment_ids` and `padding_mask`, each `(batch, time)`; see
            `BertModel`.

    Returns:
        Logits, float32 `(batch, num_classes)`.

    Raises:
        ValueError: If there are fewer than 2 classes, or `dropout_samples` is not 1 or more.
    """

    def __init__(self, backbone, num_classes, dropout=None, dropout_samples=1, **kwargs):
        check_classes(num_classes)
        dropout = backbone.dropout if dropout is None else dropout

        # === Layers ===
        options = {"kernel_initializer": bert_initializer(), "dtype": "float32", "name": "logits"}
        output_dropout = None
        if dropout_samples == 1:
            output_dropout = Dropout(dropout, dtype=backbone.dtype_policy, name="pooled_dropout")
            output_dense = keras.layers.Dense(num_classes, **options)
        else:
            output_dense = MultiSampleDropout(num_classes, dropout, dropout_samples, **options)

        # === Functional model ===
        inputs = make_inputs()
        pooled = backbone(inputs)["pooled_output"]
        logits = output_dense(pooled if output_dropout is None else output_dropout(pooled))
        super().__init__(inputs=inputs, outputs=logits, **kwargs)

        # === Config ===
        self.backbone = backbone
        self.output_dense = output_dense
        self.num_classes = num_classes
        self.dropout = dropout
        self.dropout_samples = dropout_samples
        self.dtype_policy = backbone.dtype_policy  # what compile scales the loss by
