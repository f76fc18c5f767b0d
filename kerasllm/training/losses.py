"""Cross-entropies of integer labels that hold training back: smoothed labels, focal loss."""

import keras
from keras import ops


class _SparseLoss(keras.losses.Loss):
    """What the losses of integer labels share: the log-probabilities of the classes."""

    def __init__(self, from_logits, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.from_logits = from_logits

    def log_probabilities(self, y_true, y_pred):
        """float32 `(..., classes)`, and the labels' one-hot rows."""
        y_pred = ops.cast(y_pred, "float32")
        labels = ops.cast(y_true, "int32")
        if len(labels.shape) == len(y_pred.shape):
            labels = ops.squeeze(labels, -1)
        if self.from_logits:
            log_probabilities = ops.log_softmax(y_pred)
        else:
            log_probabilities = ops.log(ops.clip(y_pred, keras.config.epsilon(), 1.0))
        return log_probabilities, ops.one_hot(labels, y_pred.shape[-1], dtype="float32")

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package="kerasllm")
class SmoothedCrossentropy(_SparseLoss):
    """Cross-entropy against labels of which a part is spread over all classes.

    The target is `1 - label_smoothing` for the label plus `label_smoothing / num_classes` for each
    class. `keras.losses.CategoricalCrossentropy` has this for one-hot labels only.

    Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking the Inception Architecture for
    Computer Vision, 2016.

    Examples:

    >>> model.compile("adam", kerasllm.training.SmoothedCrossentropy(0.1))

    Args:
        label_smoothing: The part that is spread, in `[0, 1)`. 0.1 by default.
        from_logits: Whether the model's outputs are logits, as those of kerasllm are, or
            probabilities.
        name: `"smoothed_crossentropy"` by default.
        **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.

    Call arguments:
        y_true: ints `(batch,)` or `(batch, 1)`.
        y_pred: `(batch, num_classes)`.
        sample_weight: `(batch,)` or None.

    Raises:
        ValueError: If `label_smoothing` is not in `[0, 1)`.
    """

    def __init__(
        self, label_smoothing=0.1, from_logits=True, name="smoothed_crossentropy", **kwargs
    ):
        super().__init__(from_logits, name, **kwargs)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; expected 0 or more, below 1.")
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        log_probabilities, one_hot = self.log_probabilities(y_true, y_pred)
        spread = self.label_smoothing
        own = ops.sum(one_hot * log_probabilities, axis=-1)
        return -(1 - spread) * own - spread * ops.mean(log_probabilities, axis=-1)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="kerasllm")
class SparseFocalCrossentropy(_SparseLoss):
    """Cross-entropy in which rows that the model is sure of count little: `(1 - p)^gamma * CE`.

    Keras has it for one-hot labels (`keras.losses.CategoricalFocalCrossentropy`), this is for
    ints. Weights of classes, the paper's alpha, are given to `fit` as `class_weight`.

    Source: Lin, Goyal, Girshick, He, Dollár, Focal Loss for Dense Object Detection, 2017.

    Examples:

    >>> model.compile("adam", kerasllm.training.SparseFocalCrossentropy(gamma=2.0))

    Args:
        gamma: How fast a row's weight falls with its probability. 2.0 by default; 0 is
            cross-entropy.
        from_logits: Whether the model's outputs are logits, as those of kerasllm are, or
            probabilities.
        name: `"sparse_focal_crossentropy"` by default.
        **kwargs: `reduction` and `dtype` of `keras.losses.Loss`.

    Call arguments:
        y_true: ints `(batch,)` or `(batch, 1)`.
        y_pred: `(batch, num_classes)`.
        sample_weight: `(batch,)` or None.

    Raises:
        ValueError: If `gamma` is below 0.
    """

    def __init__(self, gamma=2.0, from_logits=True, name="sparse_focal_crossentropy", **kwargs):
        super().__init__(from_logits, name, **kwargs)
        if not gamma >= 0:
            raise ValueError(f"gamma is {gamma}; expected 0 or more.")
        self.gamma = gamma

    def call(self, y_true, y_pred):
        log_probabilities, one_hot = self.log_probabilities(y_true, y_pred)
        own = ops.sum(one_hot * log_probabilities, axis=-1)
        if self.gamma == 0:
            return -own
        # Never quite zero: powers below 1 have no gradient there.
        doubt = ops.maximum(-ops.expm1(own), keras.config.epsilon())
        return -ops.power(doubt, self.gamma) * own

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}
