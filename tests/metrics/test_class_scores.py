"""F-beta, precision, recall and the confusion matrix against scikit-learn."""

import keras
import numpy as np
import pytest
import sklearn.metrics
from metrics.cases import CUTS, make_case, make_token_case, run

from kerasllm.metrics import ClassPrecision, ClassRecall, ConfusionMatrix, FBeta

NAMES = ["财经", "体育", "科技", "娱乐", "时政"]
AVERAGES = ["macro", "micro", "weighted"]


def expected(labels, logits, weights=None, beta=1.0, average="macro"):
    """scikit-learn's precision, recall and F-beta."""
    return sklearn.metrics.precision_recall_fscore_support(
        labels,
        logits.argmax(axis=-1),
        beta=beta,
        labels=range(logits.shape[-1]),
        average=average,
        sample_weight=weights,
        zero_division=0,
    )[:3]


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_any_cut_into_batches_gives_scikit_learns_value(average, beta, weighted):
    labels, logits, weights = make_case()
    weights = weights if weighted else None
    precision, recall, f_beta = expected(labels, logits, weights, beta, average)
    for cuts in CUTS:
        for metric, value in (
            (FBeta(5, beta, average), f_beta),
            (ClassPrecision(5, average), precision),
            (ClassRecall(5, average), recall),
        ):
            assert run(metric, labels, logits, weights, cuts) == pytest.approx(value, abs=1e-6)


def test_single_classes_are_logged_under_their_names():
    labels, logits, weights = make_case()
    values = expected(labels, logits, weights, average=None)
    for metric, of_classes in zip(
        (
            ClassPrecision(5, class_names=NAMES),
            ClassRecall(5, class_names=NAMES),
            FBeta(5, average=None, class_names=NAMES, name="f1"),
        ),
        values,
        strict=True,
    ):
        found = run(metric, labels, logits, weights)
        assert list(found) == [f"{metric.name}/{name}" for name in NAMES]
        np.testing.assert_allclose(list(found.values()), of_classes, atol=1e-6)
    assert list(run(ClassRecall(5), labels, logits)) == [f"recall/{i}" for i in range(5)]


def test_keras_one_hot_scores_agree():
    labels, logits, _ = make_case()
    one_hot = np.eye(5, dtype="float32")[labels]
    theirs = keras.metrics.FBetaScore(average="weighted", beta=2.0)
    theirs.update_state(one_hot, logits)
    ours = FBeta(5, 2.0, "weighted")
    assert run(ours, one_hot, logits) == pytest.approx(float(theirs.result()), abs=1e-6)


def test_confusion_matrix_is_scikit_learns():
    labels, logits, weights = make_case()
    for sample_weight in (None, weights):
        matrix = sklearn.metrics.confusion_matrix(
            labels, logits.argmax(axis=1), sample_weight=sample_weight
        )
        for cuts in CUTS:
            found = run(ConfusionMatrix(5), labels, logits, sample_weight, cuts)
            np.testing.assert_allclose(found, matrix, atol=1e-4)
        found = run(ConfusionMatrix(5, normalize="true"), labels, logits, sample_weight)
        np.testing.assert_allclose(found, matrix / matrix.sum(axis=1, keepdims=True), atol=1e-6)


def with_mask(logits, mask):
    tensor = keras.ops.convert_to_tensor(logits)
    tensor._keras_mask = keras.ops.convert_to_tensor(mask)
    return tensor


@pytest.mark.parametrize("make", [FBeta, ClassRecall, ConfusionMatrix])
def test_tokens_count_by_mask_weight_and_label(make):
    """A mask on the scores, a sample weight of 0, an ignored or impossible label: all the same."""
    labels, logits, mask = make_token_case()
    only = make(4)
    only.update_state(labels[mask], logits[mask])
    expected = only.result()
    for number, (y_true, y_pred, weight, ignored) in enumerate(
        [
            (labels, with_mask(logits, mask), None, None),
            (labels, logits, mask, None),
            (labels, logits, mask.astype("float32")[..., None], None),
            (labels[..., None], logits, mask, None),
            (np.where(mask, labels, -100), logits, None, None),
            (np.where(mask, labels, 4), logits, None, None),
            (np.where(mask, labels, 3), np.where((labels == 3)[..., None], -1, logits), None, 3),
        ]
    ):
        if ignored is not None:  # class 3 is padding, and no row of another label is left out
            twin, rest = make(4), mask & (labels != 3)
            twin.update_state(labels[rest], y_pred[rest])
            expected = twin.result()
        metric = make(4, ignore_class=ignored)
        metric.update_state(y_true, y_pred, weight)
        keras.tree.map_structure(
            lambda found, right, case=number: np.testing.assert_allclose(
                found, right, atol=1e-6, err_msg=f"case {case}"
            ),
            metric.result(),
            expected,
        )


def test_weights_of_texts_are_those_of_their_tokens():
    labels, logits, _ = make_token_case()
    weights = np.linspace(0.1, 1, len(labels))
    metrics = FBeta(4), FBeta(4)
    metrics[0].update_state(labels, logits, weights)
    metrics[1].update_state(labels, logits, np.repeat(weights[:, None], labels.shape[1], axis=1))
    assert float(metrics[0].result()) == pytest.approx(float(metrics[1].result()), abs=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FBeta(3, beta=0), "beta is 0; expected more than 0"),
        (lambda: FBeta(3, average="samples"), "average is 'samples'; expected one of"),
        (lambda: ClassRecall(3, class_names=["a", "b"]), "expected 3 different names"),
        (lambda: ClassRecall(2, class_names=["a", "a"]), "expected 2 different names"),
        (lambda: ConfusionMatrix(3, normalize="pred"), "normalize is 'pred'"),
        (lambda: run(FBeta(3), np.zeros(4, int), np.zeros((4, 1))), r"shape \(4, 1\); expected"),
        (lambda: FBeta(2).update_state(np.zeros(4), np.zeros((3, 4, 2))), "for each row of scores"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()
