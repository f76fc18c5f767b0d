"""The confusion matrix as a metric."""

import keras
from keras import ops

from kerasllm.metrics.rows import flatten_rows


@keras.saving.register_keras_serializable(package="kerasllm")
class ConfusionMatrix(keras.metrics.Metric):
    """How often each true class was predicted as each class.

    In `compile` it logs a matrix: `kerasllm.training.TensorBoard` draws it, `History` keeps it;
    Keras's own TensorBoard callback takes scalars only.

    Examples:

    >>> model.compile("adam", loss, metrics=[kerasllm.metrics.ConfusionMatrix(3)])

    Args:
        num_classes: Number of classes.
        normalize: None for (weighted) counts, `"true"` for shares of the true class.
        ignore_class: A label that does not count, such as that of padding.
        name: `"confusion_matrix"` by default.
        dtype: Dtype of the counts.

    Call arguments:
        y_true, y_pred, sample_weight: As in `FBeta`.

    Returns:
        `(num_classes, num_classes)`, `[true, predicted]`.

    Raises:
        ValueError: If `normalize` makes no sense.
    """

    def __init__(
        self,
        num_classes,
        normalize=None,
        ignore_class=None,
        name="confusion_matrix",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        if normalize not in (None, "true"):
            raise ValueError(f"normalize is {normalize!r}; expected None or 'true'.")
        self.num_classes, self.normalize, self.ignore_class = num_classes, normalize, ignore_class
        self.counts = self.add_variable(
            (num_classes, num_classes), "zeros", name="counts", dtype=self.dtype
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels, scores, weights = flatten_rows(
            y_true, y_pred, sample_weight, self.ignore_class, self.dtype
        )
        cells = labels * self.num_classes + ops.cast(ops.argmax(scores, axis=-1), "int32")
        counts = ops.segment_sum(weights, cells, num_segments=self.num_classes**2)
        self.counts.assign_add(ops.reshape(counts, (self.num_classes, self.num_classes)))

    def result(self):
        counts = ops.convert_to_tensor(self.counts)
        if self.normalize is None:
            return counts
        return ops.divide_no_nan(counts, ops.sum(counts, axis=1, keepdims=True))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "normalize": self.normalize,
            "ignore_class": self.ignore_class,
        }
