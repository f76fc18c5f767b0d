"""Metrics of language models and taggers, over the tokens that count."""

import keras
from keras import ops

from kerasllm.metrics.rows import flatten_rows, row_weights

INPUTS = ("logits", "probabilities", "losses")


class TokenMean(keras.metrics.Metric):
    """The weighted mean of a value for each token; a subclass gives `values(labels, scores)`."""

    def __init__(self, ignore_class=None, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.ignore_class = ignore_class
        self.total = self.add_variable((), "zeros", name="total", dtype=self.dtype)
        self.count = self.add_variable((), "zeros", name="count", dtype=self.dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels, scores, weights = flatten_rows(
            y_true, y_pred, sample_weight, self.ignore_class, self.dtype
        )
        self.add(self.values(labels, scores), weights)

    def values(self, labels, scores):
        raise NotImplementedError

    def add(self, values, weights):
        """Adds values; one with the weight 0 does not count even if it is infinite."""
        self.total.assign_add(ops.sum(ops.where(weights > 0, values * weights, 0)))
        self.count.assign_add(ops.sum(weights))

    def result(self):
        return ops.divide_no_nan(self.total, self.count)

    def get_config(self):
        return {**super().get_config(), "ignore_class": self.ignore_class}


@keras.saving.register_keras_serializable(package="kerasllm")
class TokenAccuracy(TokenMean):
    """The share of the tokens, or texts, whose class is among the likeliest `top_k`.

    Beyond `keras.metrics.SparseCategoricalAccuracy`: an `ignore_class`, and labels that are no
    class (such as -100) do not count.

    Examples:

    >>> accuracy = kerasllm.metrics.TokenAccuracy(top_k=5, ignore_class=-100)
    >>> model.compile("adam", loss, metrics=[accuracy])

    Args:
        top_k: How many guesses the model has. 1 by default.
        ignore_class: A label that does not count, such as that of padding.
        name: `"token_accuracy"` by default.
        dtype: Dtype of the sums.

    Call arguments:
        y_true: ints `(...)` or `(..., 1)`, or one-hot `(..., num_classes)`.
        y_pred: `(..., num_classes)`, logits or probabilities.
        sample_weight: Of the shape of the classes or of its first axes, or None.

    Raises:
        ValueError: If `top_k` makes no sense.
    """

    def __init__(self, top_k=1, ignore_class=None, name="token_accuracy", dtype=None):
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}; expected 1 or more.")
        super().__init__(ignore_class, name, dtype)
        self.top_k = top_k

    def values(self, labels, scores):
        if self.top_k == 1:
            hits = ops.cast(ops.argmax(scores, axis=-1), "int32") == labels
        else:
            hits = ops.in_top_k(labels, scores, self.top_k)
        return ops.cast(hits, self.dtype)

    def get_config(self):
        return {**super().get_config(), "top_k": self.top_k}


@keras.saving.register_keras_serializable(package="kerasllm")
class Perplexity(TokenMean):
    """`exp` of the mean over tokens of the negative log-likelihood, in nats.

    The mean is over all tokens of all batches, not over batches: short ones count less.

    Examples:

    >>> perplexity = kerasllm.metrics.Perplexity(ignore_class=0)
    >>> perplexity.update_state([1, 2, 0], np.zeros((3, 10)))
    >>> perplexity.result()
    <tf.Tensor: shape=(), dtype=float32, numpy=10.0>

    Args:
        inputs: What `y_pred` is: `"logits"`, `"probabilities"`, or `"losses"`, one cross-entropy
            for each token, as fused losses give it.
        ignore_class: A label that does not count, such as that of padding.
        name: `"perplexity"` by default.
        dtype: Dtype of the sums.

    Call arguments:
        y_true: ints `(...)`, the tokens; with `"losses"` only looked at for `ignore_class`.
        y_pred: `(..., vocabulary)`; with `"losses"` `(...)`.
        sample_weight: Of the shape of the tokens or of its first axes, or None: a mask.

    Raises:
        ValueError: If `inputs` makes no sense.
    """

    def __init__(self, inputs="logits", ignore_class=None, name="perplexity", dtype=None):
        if inputs not in INPUTS:
            raise ValueError(f"inputs is {inputs!r}; expected one of {INPUTS}.")
        super().__init__(ignore_class, name, dtype)
        self.inputs = inputs

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.inputs != "losses":
            return super().update_state(y_true, y_pred, sample_weight)
        mask = getattr(y_pred, "_keras_mask", None)
        losses = ops.cast(ops.convert_to_tensor(y_pred), self.dtype)
        rows = ops.reshape(losses, (-1,))
        counts = ops.ones_like(rows, dtype="bool")
        if self.ignore_class is not None:
            tokens = ops.reshape(ops.convert_to_tensor(y_true), (-1,))
            counts = ops.not_equal(tokens, self.ignore_class)
        weights = row_weights(counts, ops.shape(losses), sample_weight, mask, self.dtype)
        self.add(rows, weights)

    def values(self, labels, scores):
        return ops.sparse_categorical_crossentropy(
            labels, scores, from_logits=self.inputs == "logits"
        )

    def result(self):
        return ops.exp(super().result())

    def get_config(self):
        return {**super().get_config(), "inputs": self.inputs}
