"""A language model's last layer together with its loss."""

import keras
from keras import ops

from kerasllm.ops.few_rows_product import few_rows_product, few_rows_served
from kerasllm.ops.gather_positions import gather_positions
from kerasllm.ops.linear_cross_entropy import linear_cross_entropy


@keras.saving.register_keras_serializable(package="kerasllm")
class LinearCrossEntropy(keras.layers.Layer):
    """A linear layer over the vocabulary and the softmax cross-entropy of its logits, as one.

    Called with hidden states and labels it returns the loss of each position, and never stores the
    logits of all of them: `kerasllm.ops.linear_cross_entropy` has the method. Called without labels
    it returns the logits, for inference. It adds no loss to the model by itself; a model says in
    `compute_loss` what it minimises.

    Examples:

    A language model that trains on its own losses:

    >>> class LanguageModel(keras.Model):
    ...     def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
    ...         losses, correct = y_pred
    ...         count = keras.ops.sum(keras.ops.cast(x["labels"] != -100, losses.dtype))
    ...         return keras.ops.sum(losses) / keras.ops.maximum(count, 1)
    >>> token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    >>> labels = keras.Input((None,), dtype="int32", name="labels")
    >>> embedding = keras.layers.Embedding(21128, 256)
    >>> hidden_states = kerasllm.layers.LSTM(256, return_sequences=True)(embedding(token_ids))
    >>> head = kerasllm.layers.LinearCrossEntropy(21128, tied_to=embedding)
    >>> model = LanguageModel(
    ...     {"token_ids": token_ids, "labels": labels}, head(hidden_states, labels)
    ... )
    >>> model.compile("adam")
    >>> model.fit({"token_ids": text[:, :-1], "labels": text[:, 1:]})

    And what it predicts, with the same weights:

    >>> predictor = keras.Model(token_ids, head(hidden_states))
    >>> predictor.predict(text).shape
    (32, 128, 21128)

    Args:
        vocabulary_size: Number of classes.
        tied_to: An embedding layer whose `embeddings` `(vocabulary_size, dim)` are the kernel
            (Press and Wolf, Using the Output Embedding to Improve Language Models, 2017), or None
            for a kernel of the layer's own.
        use_bias: Whether each class has a bias. It stays float32 under mixed precision.
        ignore_index: Positions with this label have loss 0 and no gradient, and cost nothing.
        label_smoothing: The share of the target that is spread evenly over all classes, in
            `[0, 1]`.
        z_loss: Weight of the squared log-sum-exp of the logits in the loss, at least 0.
        kernel_initializer: Of the layer's own kernel.
        bias_initializer: Of the bias.
        **kwargs: Those of every layer.

    Call arguments:
        hidden_states: `(..., dim)`.
        labels: Integers in the shape of `hidden_states` without its last axis, each in
            `[0, vocabulary_size)` or `ignore_index`; or None for logits.
        positions: Integers `(batch, num_predictions)`, the positions of `hidden_states`
            `(batch, time, dim)` that `labels` `(batch, num_predictions)` belong to, as
            `kerasllm.ops.gather_positions` takes them; or None for all.
        training: Whether a gradient will be asked for.
        hidden_states_mask: bool, in the shape of `labels`; what is false is ignored as
            `ignore_index` is. With `positions` it does not count.
        plain: Whether the losses are the cross-entropy alone, without label smoothing and z-loss,
            as for evaluation. False by default.

    Returns:
        `(losses, correct)`, float32 and bool in the shape of `labels`: `correct` where the label
        has the largest logit. Without labels the logits, `(..., vocabulary_size)`, in the dtype of
        the layer's computations.

    Raises:
        ValueError: If the embeddings of `tied_to` are not there yet or have another shape.
    """

    def __init__(
        self,
        vocabulary_size,
        tied_to=None,
        use_bias=True,
        ignore_index=-100,
        label_smoothing=0.0,
        z_loss=0.0,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.tied_to = tied_to
        self.use_bias = use_bias
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.z_loss = z_loss
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.supports_masking = True

    def build(self, hidden_states_shape, *_, **__):
        expected = (self.vocabulary_size, hidden_states_shape[-1])
        if self.tied_to is None:
            self._kernel = self.add_weight(
                name="kernel", shape=expected, initializer=self.kernel_initializer
            )
        else:
            found = self._embeddings().shape
            if tuple(found) != expected:
                raise ValueError(
                    f"LinearCrossEntropy: the embeddings of {self.tied_to.name} have shape "
                    f"{tuple(found)}, expected (vocabulary_size, dim) = {expected}."
                )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.vocabulary_size,),
                initializer=self.bias_initializer,
                autocast=False,
            )

    def _embeddings(self):
        if not self.tied_to.built:
            raise ValueError(
                f"LinearCrossEntropy: {self.tied_to.name} has no embeddings yet; call it, or build "
                "it, before this layer."
            )
        return self.tied_to.embeddings

    @property
    def kernel(self):
        """The kernel, `(vocabulary_size, dim)`, or the embeddings that stand for it."""
        return self._kernel if self.tied_to is None else self._embeddings()

    def call(
        self,
        hidden_states,
        labels=None,
        positions=None,
        training=False,
        hidden_states_mask=None,
        plain=False,
    ):
        if positions is not None:
            hidden_states = gather_positions(hidden_states, positions)
        if labels is None:
            return self.logits(hidden_states)
        if hidden_states_mask is not None and positions is None:
            ignored = ops.full_like(labels, self.ignore_index)
            labels = ops.where(hidden_states_mask, labels, ignored)
        return linear_cross_entropy(
            hidden_states,
            ops.convert_to_tensor(self.kernel, dtype=self.compute_dtype),
            labels,
            bias=None if self.bias is None else ops.convert_to_tensor(self.bias),
            ignore_index=self.ignore_index,
            label_smoothing=0.0 if plain else self.label_smoothing,
            z_loss=0.0 if plain else self.z_loss,
            training=training,
        )

    def logits(self, hidden_states):
        """The logits of hidden states.

        In a functional model call the layer without labels instead, which keeps track of it.

        Args:
            hidden_states: `(..., dim)`.

        Returns:
            `(..., vocabulary_size)`, in the dtype of the hidden states; in decoding float32.
        """
        if few_rows_served(hidden_states):
            logits = few_rows_product(
                hidden_states, self.kernel, transposed=True, outputs_dtype="float32"
            )
            return logits if self.bias is None else logits + ops.convert_to_tensor(self.bias)
        kernel = ops.cast(ops.convert_to_tensor(self.kernel), hidden_states.dtype)
        logits = ops.matmul(hidden_states, ops.transpose(kernel))
        if self.bias is None:
            return logits
        return logits + ops.cast(ops.convert_to_tensor(self.bias), logits.dtype)

    def compute_mask(self, *_, **__):
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "tied_to": keras.saving.serialize_keras_object(self.tied_to),
            "use_bias": self.use_bias,
            "ignore_index": self.ignore_index,
            "label_smoothing": self.label_smoothing,
            "z_loss": self.z_loss,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }

    @classmethod
    def from_config(cls, config):
        tied_to = keras.saving.deserialize_keras_object(config["tied_to"])
        return cls(**{**config, "tied_to": tied_to})
