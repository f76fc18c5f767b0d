"""BERT with the masked language model's head."""

import keras
from keras import ops

from kerasllm.layers import Dense, LayerNormalization, LinearCrossEntropy
from kerasllm.models.bert_model import BertModel, bert_initializer, complete_inputs
from kerasllm.models.packed_bert import packed_states
from kerasllm.ops.gather_positions import gather_positions


@keras.saving.register_keras_serializable(package="kerasllm")
class BertMaskedLM(BertModel, keras.Model):
    """Guesses masked tokens (Devlin et al., 2019), and learns to.

    A dense layer, an activation and a layer normalisation stand before the vocabulary, whose kernel
    is the embedding table. Only the positions asked for go through them, and in training the
    vocabulary-loss op, `kerasllm.layers.LinearCrossEntropy`, never stores a logit.

    Called without labels the model gives logits. Called with labels it gives what it learns from;
    it then needs no loss in `compile`, and `fit` shows the mean loss of the masked tokens and the
    share of them that was guessed.

    Examples:

    >>> backbone = kerasllm.models.BertBackbone.from_preset("small", pooler_activation=None)
    >>> model = kerasllm.models.BertMaskedLM(backbone)
    >>> model.compile(kerasllm.optimizers.AdamW(1e-4))
    >>> model.fit({"token_ids": ids, "mask_positions": positions, "labels": labels})
    >>> model.predict({"token_ids": ids, "mask_positions": positions}).shape
    (32, 20, 21128)

    Args:
        backbone: A `BertBackbone`, best without a pooler (`pooler_activation=None`), as it is not
            used. The model takes the backbone's dtype policy.
        activation: Of the dense layer before the vocabulary; that of the backbone by default.
        **kwargs: `name` and `trainable` of `keras.Model`.

    Call arguments:
        inputs: A dict of `token_ids`, `segment_ids` and `padding_mask`, each `(batch, time)`, see
            `BertModel`, and of these:
            `mask_positions`: Integers `(batch, num_predictions)`, where the masked tokens are; all
            positions by default. Rows with fewer fill up with 0, labelled -100.
            `labels`: Integers `(batch, num_predictions)`, the tokens there, and -100 for what does
            not count; without `mask_positions` it is `(batch, time)`. Or none for logits.
            `document_ids` and `position_ids`: Integers `(batch, time)`, for rows in which documents
            follow each other without padding: the number of a token's document in its row, and the
            token's position in it. A document is then seen as if it stood alone.

    Returns:
        Logits, `(batch, num_predictions, vocabulary_size)` in the compute dtype. With labels
        `(losses, correct)`, float32 and bool in the shape of `labels`: 0 and false where the label
        is -100, and at padding.
    """

    def __init__(self, backbone, activation=None, **kwargs):
        super().__init__(dtype=backbone.dtype_policy, **kwargs)
        self.backbone = backbone
        self.activation = keras.activations.get(
            backbone.activation if activation is None else activation
        )
        self.transform_dense = Dense(
            backbone.embedding_dim,
            activation=self.activation,
            kernel_initializer=bert_initializer(),
            dtype=backbone.dtype_policy,
            name="transform",
        )
        self.transform_norm = LayerNormalization(
            epsilon=backbone.epsilon, dtype=backbone.dtype_policy, name="transform_norm"
        )
        self.vocabulary_loss = LinearCrossEntropy(
            backbone.vocabulary_size,
            tied_to=backbone.embedding,
            dtype=backbone.dtype_policy,
            name="vocabulary_loss",
        )
        self.transform_dense.build((None, None, backbone.hidden_dim))
        self.transform_norm.build((None, None, backbone.embedding_dim))
        self.vocabulary_loss.build((None, None, backbone.embedding_dim))
        self.masked_accuracy = keras.metrics.Mean(name="masked_accuracy")
        self.built = True

    def call(self, inputs, training=False):
        inputs = dict(inputs)
        positions = inputs.pop("mask_positions", None)
        labels = inputs.pop("labels", None)
        if inputs.get("document_ids") is None:
            states = self.backbone(inputs, training=training)["sequence_output"]
        else:
            states = packed_states(self.backbone, inputs, training)
        if positions is not None:
            states = gather_positions(states, positions)
        states = self.transform_norm(self.transform_dense(states))
        return self.vocabulary_loss(states, labels, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        losses, _ = y_pred
        loss = ops.sum(losses) / ops.maximum(ops.sum(self._counts(x)), 1)
        return sum(self.losses, loss)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        _, correct = y_pred
        self.masked_accuracy.update_state(
            ops.reshape(correct, (-1,)), sample_weight=ops.reshape(self._counts(x), (-1,))
        )
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _counts(self, inputs):
        """float32 in the shape of the labels: 1 for each that counts."""
        counts = ops.not_equal(inputs["labels"], self.vocabulary_loss.ignore_index)
        if inputs.get("mask_positions") is None:
            # The vocabulary loss leaves out what the states' mask does.
            counts = ops.logical_and(counts, complete_inputs(inputs)["padding_mask"])
        return ops.cast(counts, "float32")

    def build(self, _=None):
        """Nothing is left to build: every layer knows its sizes."""

    def get_config(self):
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
        }
