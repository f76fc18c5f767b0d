"""F1 averaged over classes, for integer labels."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasllm")
class MacroF1(keras.metrics.Metric):
    """The mean over classes of `2 tp / (2 tp + fp + fn)`, each class counting the same.

    The counts are summed over all batches and the quotient taken at the end, so it does not depend
    on how rows were batched. Like scikit-learn's `f1_score(average="macro", zero_division=0)` over
    all `num_classes` labels, a class that is neither in the labels nor predicted counts as 0.
    `keras.metrics.F1Score` does the same for one-hot labels only.

    Args:
        num_classes: Number of classes.
        name: `"macro_f1"` by default.
        dtype: Dtype of the counts.

    Call arguments:
        y_true: ints `(batch,)` or `(batch, 1)`.
        y_pred: `(batch, num_classes)`, logits or probabilities: the largest one is the prediction.
        sample_weight: `(batch,)` or None.
    """

    def __init__(self, num_classes, name="macro_f1", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes

        def counts(name):
            return self.add_variable((num_classes,), "zeros", name=name, dtype=self.dtype)

        self.hits, self.predicted, self.actual = (
            counts("hits"),
            counts("predicted"),
            counts("actual"),
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.num_classes)
        labels = ops.cast(labels, self.dtype)
        guesses = ops.cast(ops.one_hot(ops.argmax(y_pred, axis=-1), self.num_classes), self.dtype)
        if sample_weight is not None:
            weights = ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1))
            labels, guesses_weighted = labels * weights, guesses * weights
        else:
            guesses_weighted = guesses
        self.hits.assign_add(ops.sum(labels * guesses, axis=0))
        self.predicted.assign_add(ops.sum(guesses_weighted, axis=0))
        self.actual.assign_add(ops.sum(labels, axis=0))

    def result(self):
        return ops.mean(ops.divide_no_nan(2 * self.hits, self.predicted + self.actual))

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}
