"""Cases for metrics: labels, logits, weights; and ways to cut them into batches."""

import numpy as np

CUTS = ([], [1, 2, 50, 97], range(7, 103, 7))


def make_case(rows=103, num_classes=5, seed=0, sureness=1.0):
    """Labels `(rows,)`, logits `(rows, num_classes)` and weights `(rows,)`."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, rows)
    logits = random.normal(size=(rows, num_classes)).astype("float32")
    logits[np.arange(rows), labels] += 1.0
    return labels, sureness * logits, random.random(rows).astype("float32")


def make_token_case(num_classes=4, seed=0, batch=6, time=9):
    """Labels `(batch, time)` and logits of texts that end early, with the mask of their tokens."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_classes, (batch, time))
    logits = random.normal(size=(batch, time, num_classes)).astype("float32")
    mask = np.arange(time) < random.integers(1, time + 1, (batch, 1))
    return labels, logits, mask


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype="float64")
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def run(metric, labels, scores, weights=None, cuts=()):
    """The metric's value after the rows, cut into batches; a number, a dict or a matrix."""
    for rows in np.split(np.arange(len(labels)), list(cuts)):
        metric.update_state(labels[rows], scores[rows], None if weights is None else weights[rows])
    result = metric.result()
    if isinstance(result, dict):
        return {key: float(value) for key, value in result.items()}
    result = np.array(result)
    return float(result) if result.ndim == 0 else result
