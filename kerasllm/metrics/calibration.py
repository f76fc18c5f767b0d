"""How far a classifier's probabilities can be trusted."""

import keras
from keras import ops

from kerasllm.metrics.rows import flatten_rows


@keras.saving.register_keras_serializable(package="kerasllm")
class ExpectedCalibrationError(keras.metrics.Metric):
    """The mean distance between how sure the model is and how often it is right.

    Predictions are put into bins by the probability of the predicted class, the upper edge
    included; the error is the mean over bins of `|share right - mean probability|`, by their
    weight. Source: Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger, "On Calibration of Modern
    Neural Networks", 2017.

    Examples:

    >>> model.compile("adam", loss, metrics=[kerasllm.metrics.ExpectedCalibrationError()])

    Args:
        num_bins: Number of bins of equal width; 15 by default, as in the paper.
        from_logits: Whether `y_pred` are logits, the default, or probabilities.
        ignore_class: A label that does not count, such as that of padding.
        name: `"calibration_error"` by default.
        dtype: Dtype of the sums.

    Call arguments:
        y_true: ints `(...)` or `(..., 1)`, or one-hot `(..., num_classes)`.
        y_pred: `(..., num_classes)`.
        sample_weight: Of the shape of the classes or of its first axes, or None.

    Raises:
        ValueError: If `num_bins` makes no sense.
    """

    def __init__(
        self,
        num_bins=15,
        from_logits=True,
        ignore_class=None,
        name="calibration_error",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        if num_bins < 1:
            raise ValueError(f"num_bins is {num_bins}; expected 1 or more.")
        self.num_bins, self.from_logits, self.ignore_class = num_bins, from_logits, ignore_class

        def sums(name):
            return self.add_variable((num_bins,), "zeros", name=name, dtype=self.dtype)

        self.weights, self.confidence, self.right = (
            sums("weights"),
            sums("confidence"),
            sums("right"),
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels, scores, weights = flatten_rows(
            y_true, y_pred, sample_weight, self.ignore_class, self.dtype
        )
        probabilities = ops.softmax(scores, axis=-1) if self.from_logits else scores
        confidence = ops.max(probabilities, axis=-1)
        right = ops.cast(ops.argmax(scores, axis=-1), "int32") == labels
        bins = ops.cast(ops.ceil(confidence * self.num_bins), "int32") - 1
        bins = ops.clip(bins, 0, self.num_bins - 1)
        for variable, values in (
            (self.weights, weights),
            (self.confidence, weights * confidence),
            (self.right, weights * ops.cast(right, self.dtype)),
        ):
            variable.assign_add(ops.segment_sum(values, bins, num_segments=self.num_bins))

    def result(self):
        gaps = ops.abs(ops.convert_to_tensor(self.right) - self.confidence)
        return ops.divide_no_nan(ops.sum(gaps), ops.sum(self.weights))

    def get_config(self):
        return {
            **super().get_config(),
            "num_bins": self.num_bins,
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
        }
