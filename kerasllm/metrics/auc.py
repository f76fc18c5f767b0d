"""Areas under the ROC and the precision-recall curves of several classes."""

import math

import keras
from keras import ops

from kerasllm.metrics.rows import check_class_names, class_keys, flatten_rows

CURVES = ("roc", "pr")
AVERAGES = ("macro", "weighted", None)
# float32 cannot tell apart surer predictions than odds of exp(16), about 9 million to 1.
LARGEST_LOG_ODDS = 16.0
# Below this distance from a guess the bins have equal width, above it they grow in proportion.
FINE_LOG_ODDS = 0.01


@keras.saving.register_keras_serializable(package="kerasllm")
class OneVsRestAUC(keras.metrics.Metric):
    """The area under each class's curve against all others, averaged over the classes.

    Scores are counted in bins: of `log(p / (1 - p))`, from that of a guess, `p = 1 / num_classes`,
    in steps that grow with the distance, about 0.8% of it with the default number of bins. So the
    sure model is resolved as well as one that has hardly learned anything; bins of equal width in
    `p`, which `keras.metrics.AUC` has, put nearly all predictions of either into one or two. Cases
    in one bin are tied, as equal scores are. Of the binned scores the value is exact: for ROC the
    trapezoidal area, for precision-recall the average precision (a sum of steps, as in
    scikit-learn; straight lines between its points would flatter).

    A class without cases, or with nothing else, has no curve and takes no part in the average.

    Examples:

    >>> auc = kerasllm.metrics.OneVsRestAUC(3, curve="pr", average="weighted")
    >>> model.compile("adam", loss, metrics=[auc])

    Args:
        num_classes: Number of classes.
        curve: `"roc"` or `"pr"`.
        average: `"macro"`, `"weighted"` (by the cases of the class), or `None` for a dict of
            `name/class` to the value.
        from_logits: Whether `y_pred` are logits, the default, or probabilities.
        class_names: The names of the classes in that dict; their numbers by default.
        num_bins: Number of bins.
        ignore_class: A label that does not count, such as that of padding.
        name: `"roc_auc"` or `"pr_auc"` by default.
        dtype: Dtype of the counts.

    Call arguments:
        y_true: ints `(...)` or `(..., 1)`, or one-hot `(..., num_classes)`.
        y_pred: `(..., num_classes)`.
        sample_weight: Of the shape of the classes or of its first axes, or None.

    Raises:
        ValueError: If an argument makes no sense.
    """

    def __init__(
        self,
        num_classes,
        curve="roc",
        average="macro",
        from_logits=True,
        class_names=None,
        num_bins=2048,
        ignore_class=None,
        name=None,
        dtype=None,
    ):
        if curve not in CURVES:
            raise ValueError(f"curve is {curve!r}; expected one of {CURVES}.")
        if average not in AVERAGES:
            raise ValueError(f"average is {average!r}; expected one of {AVERAGES}.")
        if num_bins < 2:
            raise ValueError(f"num_bins is {num_bins}; expected 2 or more.")
        super().__init__(name=name or f"{curve}_auc", dtype=dtype)
        self.num_classes, self.curve, self.average = num_classes, curve, average
        self.from_logits, self.num_bins, self.ignore_class = from_logits, num_bins, ignore_class
        self.class_names = check_class_names(class_names, num_classes)
        shape = (num_classes, num_bins)
        self.positives = self.add_variable(shape, "zeros", name="positives", dtype=self.dtype)
        self.negatives = self.add_variable(shape, "zeros", name="negatives", dtype=self.dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels, scores, weights = flatten_rows(
            y_true, y_pred, sample_weight, self.ignore_class, self.dtype
        )
        bins = self._bins(scores)  # (rows, num_classes)
        cells = ops.reshape(bins + self.num_bins * ops.arange(self.num_classes), (-1,))
        is_class = ops.one_hot(labels, self.num_classes, dtype=self.dtype)
        weights = ops.expand_dims(weights, axis=-1)
        for variable, cases in ((self.positives, is_class), (self.negatives, 1 - is_class)):
            counts = ops.segment_sum(
                ops.reshape(weights * cases, (-1,)),
                cells,
                num_segments=self.num_classes * self.num_bins,
            )
            variable.assign_add(ops.reshape(counts, (self.num_classes, self.num_bins)))

    def _bins(self, scores):
        """The bin of each score, from that of the surest no to that of the surest yes."""
        if self.from_logits:
            log_p = ops.log_softmax(scores, axis=-1)
        else:
            log_p = ops.log(ops.maximum(scores, 1e-30))
        p = ops.exp(log_p)
        # Near p = 1 the other classes' probabilities say more than 1 - p does.
        rest = ops.maximum(ops.sum(p, axis=-1, keepdims=True) - p, 0)
        others = ops.where(p > 0.5, rest, 1 - p)
        log_odds = log_p - ops.log(ops.maximum(others, 1e-30))
        distance = log_odds + math.log(self.num_classes - 1)
        largest = math.asinh(LARGEST_LOG_ODDS / FINE_LOG_ODDS)
        share = (ops.arcsinh(distance / FINE_LOG_ODDS) / largest + 1) / 2
        bins = ops.floor(ops.clip(share, 0, 1) * self.num_bins)
        return ops.cast(ops.minimum(bins, self.num_bins - 1), "int32")

    def result(self):
        # From the surest yes down: what a falling threshold lets in.
        positives, negatives = ops.flip(self.positives, axis=1), ops.flip(self.negatives, axis=1)
        hits, false_alarms = ops.cumsum(positives, axis=1), ops.cumsum(negatives, axis=1)
        actual, others = hits[:, -1], false_alarms[:, -1]
        if self.curve == "roc":
            above = hits - positives / 2
            areas = ops.divide_no_nan(ops.sum(negatives * above, axis=1), actual * others)
        else:
            precision = ops.divide_no_nan(hits, hits + false_alarms)
            areas = ops.divide_no_nan(ops.sum(positives * precision, axis=1), actual)
        if self.average is None:
            keys = class_keys(self.name, self.class_names, self.num_classes)
            return {key: areas[index] for index, key in enumerate(keys)}
        counts = ops.cast(ops.logical_and(actual > 0, others > 0), self.dtype)
        if self.average == "weighted":
            counts = counts * actual
        return ops.divide_no_nan(ops.sum(areas * counts), ops.sum(counts))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "curve": self.curve,
            "average": self.average,
            "from_logits": self.from_logits,
            "class_names": self.class_names,
            "num_bins": self.num_bins,
            "ignore_class": self.ignore_class,
        }
