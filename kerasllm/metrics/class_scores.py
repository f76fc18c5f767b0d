"""F-beta, precision and recall of classes, from counts that are summed over all batches."""

import keras
from keras import ops

from kerasllm.metrics.rows import check_class_names, class_keys, flatten_rows

AVERAGES = ("macro", "micro", "weighted", None)


class ClassScore(keras.metrics.Metric):
    """A quotient of a class's counts, averaged over the classes.

    The counts are summed over all batches and the quotient taken at the end, so the value does not
    depend on how rows were batched, nor on how `tf.distribute` shared them out. As in scikit-learn
    with `zero_division=0` and all `num_classes` labels, a quotient without cases is 0.

    A subclass gives `score(hits, predicted, actual)`.
    """

    def __init__(
        self,
        num_classes,
        average="macro",
        class_names=None,
        ignore_class=None,
        name=None,
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        if average not in AVERAGES:
            raise ValueError(f"average is {average!r}; expected one of {AVERAGES}.")
        self.num_classes, self.average, self.ignore_class = num_classes, average, ignore_class
        self.class_names = check_class_names(class_names, num_classes)

        def counts(name):
            return self.add_variable((num_classes,), "zeros", name=name, dtype=self.dtype)

        self.hits, self.predicted, self.actual = (
            counts("hits"),
            counts("predicted"),
            counts("actual"),
        )

    def score(self, hits, predicted, actual):
        """The quotient, from counts of any one shape: of the classes, or their sums.

        Args:
            hits: Cases of the class that were predicted as such.
            predicted: Cases predicted as the class.
            actual: Cases of the class.
        """
        raise NotImplementedError

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels, scores, weights = flatten_rows(
            y_true, y_pred, sample_weight, self.ignore_class, self.dtype
        )
        guesses = ops.cast(ops.argmax(scores, axis=-1), "int32")
        right = weights * ops.cast(labels == guesses, self.dtype)
        for variable, values, classes in (
            (self.hits, right, labels),
            (self.predicted, weights, guesses),
            (self.actual, weights, labels),
        ):
            variable.assign_add(ops.segment_sum(values, classes, num_segments=self.num_classes))

    def result(self):
        counts = [ops.convert_to_tensor(v) for v in (self.hits, self.predicted, self.actual)]
        if self.average == "micro":
            return self.score(*map(ops.sum, counts))
        scores = self.score(*counts)
        if self.average == "macro":
            return ops.mean(scores)
        if self.average == "weighted":
            return ops.divide_no_nan(ops.sum(scores * counts[2]), ops.sum(counts[2]))
        keys = class_keys(self.name, self.class_names, self.num_classes)
        return {key: scores[index] for index, key in enumerate(keys)}

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "average": self.average,
            "class_names": self.class_names,
            "ignore_class": self.ignore_class,
        }


@keras.saving.register_keras_serializable(package="kerasllm")
class FBeta(ClassScore):
    """The weighted harmonic mean of precision and recall, `(1 + b²) pr / (b² p + r)`.

    Unlike `keras.metrics.FBetaScore` it takes integer labels, logits, token masks and an
    `ignore_class`, and logs single classes by their names.

    Examples:

    >>> f1 = kerasllm.metrics.FBeta(3, average="weighted")
    >>> model.compile("adam", loss, metrics=[f1])
    >>> tags = kerasllm.metrics.FBeta(9, average=None, class_names=tag_names, ignore_class=0)

    Args:
        num_classes: Number of classes.
        beta: How much recall counts against precision; 1.0, the default, gives F1.
        average: `"macro"` (each class counts the same), `"weighted"` (by the cases of the class),
            `"micro"` (of the summed counts), or `None` for a dict of `name/class` to the value.
        class_names: The names of the classes in that dict; their numbers by default.
        ignore_class: A label that does not count, such as that of padding.
        name: `"f_beta"` by default.
        dtype: Dtype of the counts.

    Call arguments:
        y_true: ints `(...)` or `(..., 1)`, or one-hot `(..., num_classes)`.
        y_pred: `(..., num_classes)`, logits or probabilities: the largest one is the prediction.
        sample_weight: Of the shape of the classes or of its first axes, or None.

    Raises:
        ValueError: If `average`, `beta` or `class_names` makes no sense.
    """

    def __init__(
        self,
        num_classes,
        beta=1.0,
        average="macro",
        class_names=None,
        ignore_class=None,
        name="f_beta",
        dtype=None,
    ):
        if beta <= 0:
            raise ValueError(f"beta is {beta}; expected more than 0.")
        super().__init__(num_classes, average, class_names, ignore_class, name, dtype)
        self.beta = float(beta)

    def score(self, hits, predicted, actual):
        squared = self.beta**2
        return ops.divide_no_nan((1 + squared) * hits, predicted + squared * actual)

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}


class _EachClassScore(ClassScore):
    """A `ClassScore` that is not averaged by default."""

    default_name = None

    def __init__(
        self,
        num_classes,
        average=None,
        class_names=None,
        ignore_class=None,
        name=None,
        dtype=None,
    ):
        name = name or self.default_name
        super().__init__(num_classes, average, class_names, ignore_class, name, dtype)


@keras.saving.register_keras_serializable(package="kerasllm")
class ClassPrecision(_EachClassScore):
    """The share of the cases predicted as a class that are of it; a value for each class.

    `keras.metrics.Precision` with `class_id` takes one-hot labels and one class.

    Examples:

    >>> precision = kerasllm.metrics.ClassPrecision(2, class_names=["no", "yes"])
    >>> precision.update_state([0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    >>> precision.result()
    {'precision/no': <tf.Tensor: ... numpy=0.5>, 'precision/yes': <tf.Tensor: ... numpy=1.0>}

    Args:
        num_classes: Number of classes.
        average: None by default: a dict of `name/class` to the value. Else as in `FBeta`.
        class_names, ignore_class, dtype: As in `FBeta`.
        name: `"precision"` by default.

    Call arguments:
        y_true, y_pred, sample_weight: As in `FBeta`.
    """

    default_name = "precision"

    def score(self, hits, predicted, actual):
        return ops.divide_no_nan(hits, predicted)


@keras.saving.register_keras_serializable(package="kerasllm")
class ClassRecall(_EachClassScore):
    """The share of a class's cases that are predicted as such; a value for each class.

    With `average="macro"` it is the balanced accuracy.

    Examples:

    >>> model.compile("adam", loss, metrics=[kerasllm.metrics.ClassRecall(3, average="macro")])

    Args:
        num_classes: Number of classes.
        average: None by default: a dict of `name/class` to the value. Else as in `FBeta`.
        class_names, ignore_class, dtype: As in `FBeta`.
        name: `"recall"` by default.

    Call arguments:
        y_true, y_pred, sample_weight: As in `FBeta`.
    """

    default_name = "recall"

    def score(self, hits, predicted, actual):
        return ops.divide_no_nan(hits, actual)


@keras.saving.register_keras_serializable(package="kerasllm")
class MacroF1(FBeta):
    """The mean over classes of `2 tp / (2 tp + fp + fn)`, each class counting the same.

    `FBeta` with its defaults, under the name by which models are chosen here.

    Examples:

    >>> model.compile("adam", loss, metrics=[kerasllm.metrics.MacroF1(3)])

    Args:
        num_classes: Number of classes.
        name: `"macro_f1"` by default.
        dtype: Dtype of the counts.

    Call arguments:
        y_true, y_pred, sample_weight: As in `FBeta`.
    """

    def __init__(self, num_classes, name="macro_f1", dtype=None):
        super().__init__(num_classes, name=name, dtype=dtype)

    def get_config(self):
        config = super().get_config()
        return {key: config[key] for key in ("num_classes", "name", "dtype")}
