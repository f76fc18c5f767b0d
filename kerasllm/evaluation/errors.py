"""The texts that a classifier gets wrong, worst first."""

import csv

import numpy as np

from kerasllm.files import atomic_write


def write_errors(path, texts, labels, probabilities, class_names):
    """Writes a CSV of every wrong prediction: text, truth, prediction, probability.

    The first lines are those where the model was surest of what is wrong: label mistakes in the
    data show up there.

    Args:
        path: The file, written as UTF-8 with the mark that Excel needs to see that it is UTF-8.
        texts: The texts.
        labels: ints `(rows,)`, the true classes.
        probabilities: `(rows, num_classes)`.
        class_names: The name of each class.

    Returns:
        The number of errors.
    """
    probabilities = np.asarray(probabilities)
    predictions = probabilities.argmax(axis=1)
    sureness = probabilities.max(axis=1)
    wrong = np.flatnonzero(predictions != np.asarray(labels))
    with atomic_write(path, encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "truth", "prediction", "probability"])
        for row in wrong[np.argsort(-sureness[wrong], kind="stable")]:
            truth, prediction = class_names[labels[row]], class_names[predictions[row]]
            writer.writerow([texts[row], truth, prediction, f"{sureness[row]:.4f}"])
    return len(wrong)
