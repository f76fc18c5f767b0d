"""Accuracy, precision, recall and F1 from labels and predictions."""

import numpy as np


def confusion_matrix(labels, predictions, num_classes):
    """Counts of `[true class, predicted class]`.

    Args:
        labels: ints `(rows,)`.
        predictions: ints `(rows,)`.
        num_classes: Number of classes.

    Returns:
        ints `(num_classes, num_classes)`.
    """
    flat = np.asarray(labels, int) * num_classes + np.asarray(predictions, int)
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


def classification_report(labels, predictions, class_names):
    """The figures by which a classifier is judged.

    Args:
        labels: ints `(rows,)`, the true classes.
        predictions: ints `(rows,)`, the predicted ones.
        class_names: The name of each class.

    Returns:
        `{"accuracy": float, "macro_f1": float, "rows": int, "per_class": {name: {"precision",
        "recall", "f1", "rows"}}}`. As in scikit-learn with `zero_division=0`, a quotient without
        cases is 0.
    """
    counts = confusion_matrix(labels, predictions, len(class_names))
    hits, actual, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)

    def quotient(part, whole):
        return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)

    precision, recall = quotient(hits, predicted), quotient(hits, actual)
    f1 = quotient(2 * hits, actual + predicted)
    return {
        "accuracy": float(hits.sum() / max(1, counts.sum())),
        "macro_f1": float(f1.mean()),
        "rows": int(counts.sum()),
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "rows": int(actual[i]),
            }
            for i, name in enumerate(class_names)
        },
    }


def format_report(reports):
    """Reports of several parts as one table.

    Args:
        reports: dict of part ("valid", "test") -> `classification_report`.

    Returns:
        The table as text: a line for each part and class.
    """
    lines = [f"{'':8}{'precision':>10}{'recall':>10}{'f1':>10}{'rows':>10}  class"]
    for part, report in reports.items():
        for name, values in report["per_class"].items():
            lines.append(
                f"{part:8}{values['precision']:10.3f}{values['recall']:10.3f}{values['f1']:10.3f}"
                f"{values['rows']:10d}  {name}"
            )
        lines.append(
            f"{part:8}accuracy {report['accuracy']:.4f}, macro F1 {report['macro_f1']:.4f}, "
            f"{report['rows']} rows"
        )
    return "\n".join(lines)
