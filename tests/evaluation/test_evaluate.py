"""evaluate_classifier: its files agree with each other and with scikit-learn."""

import csv
import json
import os

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import sklearn.metrics
from small_classifier import LABELS, TEXTS, make_classifier

from kerasllm.evaluation import evaluate_classifier


@pytest.fixture(scope="module")
def classifier():
    return make_classifier()


@pytest.fixture(scope="module")
def parts():
    labels = np.random.default_rng(0).choice(LABELS, len(TEXTS))
    rows = pd.DataFrame({"text": TEXTS, "label": labels, "line": range(2, 10)})
    return {"valid": rows.iloc[:5], "test": rows.iloc[3:]}


@pytest.fixture(scope="module")
def evaluated(classifier, parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated") / "new"
    return evaluate_classifier(classifier, parts, folder), folder


def test_metrics_are_scikit_learns_for_every_part(evaluated, classifier, parts):
    reports, folder = evaluated
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == reports
    assert list(reports) == ["valid", "test"]
    for part, rows in parts.items():
        predicted = [label for label, _ in classifier.predict(rows["text"].tolist())]
        assert reports[part]["accuracy"] == pytest.approx(np.mean(predicted == rows["label"]))
        assert reports[part]["macro_f1"] == pytest.approx(
            sklearn.metrics.f1_score(
                rows["label"], predicted, labels=LABELS, average="macro", zero_division=0
            )
        )


def test_files_are_those_of_the_last_part(evaluated, classifier, parts):
    _, folder = evaluated
    assert sorted(os.listdir(folder)) == ["confusion_matrix.png", "errors.csv", "metrics.json"]
    with open(folder / "errors.csv", encoding="utf-8-sig", newline="") as file:
        errors = {(row["text"], row["truth"], row["prediction"]) for row in csv.DictReader(file)}
    rows = parts["test"]
    predicted = [label for label, _ in classifier.predict(rows["text"].tolist())]
    triples = zip(rows["text"], rows["label"], predicted, strict=True)
    assert errors == {triple for triple in triples if triple[1] != triple[2]}
    with PIL.Image.open(folder / "confusion_matrix.png") as picture:
        picture.verify()


def test_unknown_label_is_an_error_before_anything_is_written(classifier, tmp_path):
    rows = pd.DataFrame({"text": ["好"], "label": ["极好"]})
    with pytest.raises(ValueError, match="'极好', but the known labels are"):
        evaluate_classifier(classifier, {"test": rows}, tmp_path)
    assert os.listdir(tmp_path) == []


def test_nothing_to_judge_is_an_error(classifier, tmp_path):
    with pytest.raises(ValueError, match="no rows to judge"):
        evaluate_classifier(classifier, {}, tmp_path)
