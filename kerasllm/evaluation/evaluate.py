"""Everything that is written about a trained classifier."""

import json
import pathlib

from kerasllm.evaluation.errors import write_errors
from kerasllm.evaluation.plots import plot_confusion_matrix
from kerasllm.evaluation.report import classification_report, confusion_matrix
from kerasllm.files import atomic_write


def evaluate_classifier(classifier, parts, folder):
    """Judges a classifier on labelled rows, and writes what it finds.

    Writes `metrics.json`, and of the last part, the test rows where there are any,
    `confusion_matrix.png` and `errors.csv`.

    Args:
        classifier: A `kerasllm.TextClassifier`.
        parts: dict of part ("valid", "test") -> DataFrame with columns `text` and `label`.
        folder: Where to write.

    Returns:
        dict of part -> `classification_report`; the content of `metrics.json`.

    Raises:
        ValueError: If there are no parts, or a label is not one of the classifier's.
    """
    if not parts:
        raise ValueError("There are no rows to judge the classifier on.")
    folder = pathlib.Path(folder)
    names = classifier.labels
    reports = {}
    for part, rows in parts.items():
        texts, labels = rows["text"].tolist(), classifier.pipeline.label_ids(rows["label"])
        probabilities = classifier.probabilities(texts)
        predictions = probabilities.argmax(axis=1)
        reports[part] = classification_report(labels, predictions, names)
        counts = confusion_matrix(labels, predictions, len(names))
    plot_confusion_matrix(folder / "confusion_matrix.png", counts, names, title=part)
    write_errors(folder / "errors.csv", texts, labels, probabilities, names)
    with atomic_write(folder / "metrics.json") as file:
        json.dump(reports, file, ensure_ascii=False, indent=1)
    return reports
