"""What every metric does first: one label, one row of scores and one weight for each case."""

from keras import ops


def flatten_rows(y_true, y_pred, sample_weight=None, ignore_class=None, dtype="float32"):
    """Texts, or the tokens of texts, as rows in one list.

    A case counts as much as the product of its sample weight and of the Keras mask that `y_pred`
    carries. One whose label is `ignore_class`, or no class at all (such as -100), does not count.

    Args:
        y_true: Classes, ints `(...)` or `(..., 1)`; or one-hot, `(..., num_classes)`.
        y_pred: `(..., num_classes)`.
        sample_weight: Of the shape of the classes, or of its first axes.
        ignore_class: The label that does not count, or None.
        dtype: Of scores and weights.

    Returns:
        `(labels, scores, weights)`: int32 `(rows,)`, `(rows, num_classes)` and `(rows,)`. A row
        that does not count has the weight 0 and the label 0.

    Raises:
        ValueError: If there are not as many labels as rows of scores, or fewer than 2 classes.
    """
    mask = getattr(y_pred, "_keras_mask", None)
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    num_classes = y_pred.shape[-1]
    if len(y_pred.shape) < 2 or num_classes < 2:
        raise ValueError(
            f"y_pred has the shape {tuple(y_pred.shape)}; expected a score for each of 2 or more "
            "classes along the last axis."
        )
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == num_classes:
        y_true = ops.argmax(y_true, axis=-1)
    labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    scores = ops.cast(ops.reshape(y_pred, (-1, num_classes)), dtype)
    _check_rows(y_true, y_pred, labels, scores)
    counts = ops.logical_and(labels >= 0, labels < num_classes)
    if ignore_class is not None:
        counts = ops.logical_and(counts, ops.not_equal(labels, ignore_class))
    weights = row_weights(counts, ops.shape(y_pred)[:-1], sample_weight, mask, dtype)
    return ops.where(counts, labels, ops.zeros_like(labels)), scores, weights


def row_weights(counts, shape, sample_weight, mask, dtype):
    """The weight of each row: 0 where it does not count, else sample weight times mask.

    Args:
        counts: bool `(rows,)`.
        shape: The shape that the rows had before they became one list.
        sample_weight, mask: Of that shape or of its first axes, or None.
        dtype: Of the weights.

    Returns:
        `(rows,)`.
    """
    weights = ops.cast(counts, dtype)
    for factor in (sample_weight, mask):
        if factor is not None:
            weights = weights * _spread(factor, shape, dtype)
    return weights


def _spread(factor, shape, dtype):
    """A weight for each row, from one of the shape of the rows or of its first axes."""
    factor = ops.cast(ops.convert_to_tensor(factor), dtype)
    if len(factor.shape) > len(shape):
        factor = ops.squeeze(factor, axis=-1)
    while len(factor.shape) < len(shape):
        factor = ops.expand_dims(factor, axis=-1)
    return ops.reshape(ops.broadcast_to(factor, shape), (-1,))


def _check_rows(y_true, y_pred, labels, scores):
    got, expected = labels.shape[0], scores.shape[0]
    if got is not None and expected is not None and got != expected:
        raise ValueError(
            f"y_true has the shape {tuple(y_true.shape)}, but y_pred {tuple(y_pred.shape)}; "
            "expected a class for each row of scores."
        )


def class_keys(name, class_names, num_classes):
    """The names under which the values of single classes are logged."""
    if class_names is None:
        class_names = range(num_classes)
    return [f"{name}/{class_name}" for class_name in class_names]


def check_class_names(class_names, num_classes):
    """The names as a list of str, or None.

    Raises:
        ValueError: If they are not `num_classes` different ones.
    """
    if class_names is None:
        return None
    class_names = [str(name) for name in class_names]
    if len(class_names) != num_classes or len(set(class_names)) != num_classes:
        raise ValueError(f"class_names are {class_names}; expected {num_classes} different names.")
    return class_names
