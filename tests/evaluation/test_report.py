"""Confusion matrix and classification report against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics

from kerasllm.evaluation import classification_report, confusion_matrix, format_report


def make_case(num_classes, rows=200, present=None, seed=0):
    random = np.random.default_rng(seed)
    classes = np.arange(num_classes) if present is None else np.array(present)
    labels = random.choice(classes, rows)
    predictions = np.where(random.random(rows) < 0.6, labels, random.choice(classes, rows))
    return labels, predictions


CASES = [
    pytest.param(*make_case(2), 2, id="two"),
    pytest.param(*make_case(10), 10, id="ten"),
    pytest.param(*make_case(5, present=[1, 4]), 5, id="absent classes"),
    pytest.param([0, 1, 2], [2, 2, 2], 3, id="one class predicted"),
    pytest.param([1], [1], 3, id="one row"),
]


@pytest.mark.parametrize(("labels", "predictions", "num_classes"), CASES)
def test_confusion_matrix_is_scikit_learns(labels, predictions, num_classes):
    counts = confusion_matrix(labels, predictions, num_classes)
    expected = sklearn.metrics.confusion_matrix(labels, predictions, labels=range(num_classes))
    assert counts.tolist() == expected.tolist()


@pytest.mark.parametrize(("labels", "predictions", "num_classes"), CASES)
def test_report_is_scikit_learns(labels, predictions, num_classes):
    names = [f"类{i}" for i in range(num_classes)]
    report = classification_report(labels, predictions, names)
    expected = sklearn.metrics.classification_report(
        labels,
        predictions,
        labels=range(num_classes),
        target_names=names,
        output_dict=True,
        zero_division=0,
    )
    assert list(report["per_class"]) == names
    for name in names:
        theirs = expected[name]
        assert report["per_class"][name] == {
            "precision": pytest.approx(theirs["precision"]),
            "recall": pytest.approx(theirs["recall"]),
            "f1": pytest.approx(theirs["f1-score"]),
            "rows": theirs["support"],
        }
    assert report["macro_f1"] == pytest.approx(expected["macro avg"]["f1-score"])
    assert report["accuracy"] == pytest.approx(np.mean(np.equal(labels, predictions)))
    assert report["rows"] == len(labels)


def test_no_rows_are_zeros():
    assert confusion_matrix([], [], 2).tolist() == [[0, 0], [0, 0]]
    report = classification_report([], [], ["a", "b"])
    assert (report["accuracy"], report["macro_f1"], report["rows"]) == (0.0, 0.0, 0)


def test_table_has_a_line_for_each_class_and_part():
    labels, predictions = make_case(3)
    reports = {
        "valid": classification_report(labels, predictions, ["好", "中", "bad, or worse"]),
        "test": classification_report([0, 1], [0, 2], ["好", "中", "bad, or worse"]),
    }
    lines = format_report(reports).split("\n")
    assert lines[0].split() == ["precision", "recall", "f1", "rows", "class"]
    assert len(lines) == 1 + 2 * (3 + 1)
    values = reports["valid"]["per_class"]["中"]
    part, precision, recall, f1, rows, name = lines[2].split()
    assert (part, name, rows) == ("valid", "中", str(values["rows"]))
    for shown, value in zip((precision, recall, f1), list(values.values())[:3], strict=True):
        assert float(shown) == pytest.approx(value, abs=5e-4)
    assert lines[-1] == "test    accuracy 0.5000, macro F1 0.3333, 2 rows"
