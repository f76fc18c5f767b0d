"""What CausalLM and LSTMLM share: inputs, loss, logits, losses by token."""

import keras
from keras import ops

from kerasllm.models.model_config import ModelConfig

# The label of a position that has none.
IGNORED = -1


class LanguageModel(ModelConfig, keras.Model):
    """Base of the models that say which token comes next.

    They are called with a dict of `"token_ids"`, int32 `(batch, time)`, and, if there are any,
    `"segment_ids"`, int32 `(batch, time)`, the numbers of the documents that are packed into a row,
    which then do not see each other, and `"labels"`, int32 `(batch, time)`, the next tokens, -1
    where there is none. With labels they give the losses by position, through
    `kerasllm.layers.LinearCrossEntropy` and without logits in memory; without, the logits.

    `compute_loss` is the mean of the losses of positions with a label, so that a model is compiled
    without a loss:

    >>> model.compile(kerasllm.optimizers.AdamW(1e-3))
    >>> model.fit(dataset_of_dicts, epochs=1)

    A subclass makes its layers in `__init__`, `self.head` among them, and has `hidden_states`.
    """

    def hidden_states(self, token_ids, segment_ids=None, training=False):
        """What the head makes logits of: `(batch, time, dim)`."""
        raise NotImplementedError

    def call(self, inputs, training=False):
        if not isinstance(inputs, dict):
            inputs = {"token_ids": inputs}
        unknown = set(inputs) - {"token_ids", "segment_ids", "labels"}
        if unknown or "token_ids" not in inputs:
            raise ValueError(
                f"{self.name} got inputs named {sorted(inputs)}; expected token_ids and, if there "
                "are any, segment_ids and labels."
            )
        states = self.hidden_states(
            inputs["token_ids"], inputs.get("segment_ids"), training=training
        )
        labels = inputs.get("labels")
        if labels is None:
            return ops.cast(self.head(states), "float32")
        return self.head(states, labels, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The mean of the losses of positions with a label, and what regularisers add.

        Args:
            x: The inputs, with labels.
            y: Not used.
            y_pred: What the call gave for them.
            sample_weight: Not used.
            training: Not used.
        """
        losses, _ = y_pred
        count = ops.sum(ops.cast(ops.not_equal(x["labels"], IGNORED), losses.dtype))
        loss = ops.sum(losses) / ops.maximum(count, 1)
        for added in self.losses:
            loss = loss + ops.cast(added, loss.dtype)
        return loss

    def logits(self, token_ids, segment_ids=None):
        """The logits of the token after each position.

        Args:
            token_ids: int32 `(batch, time)`.
            segment_ids: int32 `(batch, time)`, the documents of a packed batch; or None.

        Returns:
            float32 `(batch, time, vocabulary_size)`.
        """
        return self(_named(token_ids, segment_ids), training=False)

    def token_losses(self, inputs):
        """The cross-entropy of each label, in nats, for evaluation.

        Label smoothing and z-loss, which serve training, are not in it.

        Args:
            inputs: The dict that the model is called with. Without labels, each token is the label
                of the one before it.

        Returns:
            float32 `(batch, time)`, 0 where there is no label.
        """
        if not isinstance(inputs, dict):
            inputs = {"token_ids": inputs}
        inputs = {name: ops.convert_to_tensor(ids, "int32") for name, ids in inputs.items()}
        if "labels" not in inputs:
            inputs["labels"] = _next_tokens(inputs["token_ids"], inputs.get("segment_ids"))
        return self._token_losses_function()(inputs)

    def _token_losses_function(self):
        if "_compiled_token_losses" not in self.__dict__:

            def losses(inputs):
                inputs = dict(inputs)
                labels = inputs.pop("labels")
                states = self.hidden_states(**inputs, training=False)
                return self.head(states, labels, plain=True)[0]

            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                losses = tf.function(losses, reduce_retracing=True)
            # Past Keras, which would take it for a part of the model.
            self.__dict__["_compiled_token_losses"] = losses
        return self.__dict__["_compiled_token_losses"]

    # The constructor builds the model whole, whatever shapes it is called with later.
    def build(self, input_shape=None):
        self.built = True

    def get_build_config(self):
        return None


def _named(token_ids, segment_ids):
    inputs = {"token_ids": ops.convert_to_tensor(token_ids, "int32")}
    if segment_ids is not None:
        inputs["segment_ids"] = ops.convert_to_tensor(segment_ids, "int32")
    return inputs


def _next_tokens(token_ids, segment_ids):
    labels = ops.pad(token_ids[:, 1:], ((0, 0), (0, 1)), constant_values=IGNORED)
    if segment_ids is None:
        return labels
    same = ops.equal(segment_ids[:, 1:], segment_ids[:, :-1])
    return ops.where(ops.pad(same, ((0, 0), (0, 1))), labels, IGNORED)
