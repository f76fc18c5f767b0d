"""The areas under the curves against scikit-learn, on the same bins and on the scores."""

import keras
import numpy as np
import pytest
import sklearn.metrics
from metrics.cases import CUTS, make_case, make_token_case, run, softmax

from kerasllm.metrics import OneVsRestAUC

REFERENCES = {
    "roc": sklearn.metrics.roc_auc_score,
    "pr": sklearn.metrics.average_precision_score,
}


def expected(curve, labels, scores, weights=None, average="macro"):
    """The mean of scikit-learn's areas over the classes that have a curve."""
    present = [c for c in range(scores.shape[1]) if 0 < (labels == c).sum() < len(labels)]
    areas = [REFERENCES[curve](labels == c, scores[:, c], sample_weight=weights) for c in present]
    sizes = np.ones(len(labels)) if weights is None else weights
    shares = [sizes[labels == c].sum() for c in present] if average == "weighted" else None
    return np.average(areas, weights=shares)


def binned(logits, num_bins=2048):
    """What the metric may know of the scores: the bins of their log-odds, in float64."""
    p = softmax(logits.astype("float64"))
    distance = np.log(p) - np.log1p(-p) + np.log(logits.shape[1] - 1)
    share = np.arcsinh(distance / 0.01) / np.arcsinh(16 / 0.01)
    return np.floor(np.clip((share + 1) / 2, 0, 1) * num_bins)


@pytest.mark.parametrize("curve", ["roc", "pr"])
@pytest.mark.parametrize("average", ["macro", "weighted"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_any_cut_into_batches_gives_scikit_learns_value(curve, average, weighted, num_classes):
    labels, logits, weights = make_case(num_classes=num_classes)
    weights = weights if weighted else None
    on_bins = expected(curve, labels, binned(logits), weights, average)
    on_scores = expected(curve, labels, softmax(logits), weights, average)
    for cuts in CUTS:
        metric = OneVsRestAUC(num_classes, curve, average)
        value = run(metric, labels, logits, weights, cuts)
        # A score at the edge of a bin may fall to either side in float32.
        assert value == pytest.approx(on_bins, abs=5e-4)
        assert value == pytest.approx(on_scores, abs=3e-3)


@pytest.mark.parametrize("curve", ["roc", "pr"])
@pytest.mark.parametrize("sureness", [0.005, 0.05, 5.0])
def test_very_sure_and_very_unsure_models_are_told_apart_as_well(curve, sureness):
    """Equal bins in probability, and then in log-odds, were off by 0.05 here and there."""
    labels, logits, _ = make_case(rows=2000, sureness=sureness)
    value = run(OneVsRestAUC(5, curve), labels, logits)
    assert value == pytest.approx(expected(curve, labels, softmax(logits)), abs=2e-3)


def test_probabilities_give_what_their_logits_give():
    labels, logits, _ = make_case()
    for curve in ("roc", "pr"):
        from_logits = run(OneVsRestAUC(5, curve), labels, logits)
        metric = OneVsRestAUC(5, curve, from_logits=False)
        assert run(metric, labels, softmax(logits)) == pytest.approx(from_logits, abs=1e-3)


def test_equal_scores_are_ties():
    labels = np.array([0, 1] * 10)
    assert run(OneVsRestAUC(2), labels, np.zeros((20, 2))) == pytest.approx(0.5)
    assert run(OneVsRestAUC(2, "pr"), labels, np.zeros((20, 2))) == pytest.approx(0.5)


@pytest.mark.parametrize("curve", ["roc", "pr"])
def test_absent_classes_take_no_part(curve):
    labels, logits, _ = make_case(num_classes=4)
    labels[labels == 2] = 1
    on_scores = expected(curve, labels, softmax(logits))
    assert run(OneVsRestAUC(4, curve), labels, logits) == pytest.approx(on_scores, abs=3e-3)
    assert run(OneVsRestAUC(4, curve), np.zeros(5, int), logits[:5]) == 0


def test_single_classes_are_logged_under_their_names():
    labels, logits, _ = make_case(num_classes=3)
    names = ["差评", "中评", "好评"]
    found = run(OneVsRestAUC(3, average=None, class_names=names), labels, logits)
    assert list(found) == [f"roc_auc/{name}" for name in names]
    for index, value in enumerate(found.values()):
        area = sklearn.metrics.roc_auc_score(labels == index, softmax(logits)[:, index])
        assert value == pytest.approx(area, abs=3e-3)


def test_masked_tokens_do_not_count():
    labels, logits, mask = make_token_case()
    whole = OneVsRestAUC(4)
    whole.update_state(np.where(mask, labels, -1), logits)
    assert float(whole.result()) == run(OneVsRestAUC(4), labels[mask], logits[mask])


def test_infinite_logits_and_impossible_probabilities_stay_numbers():
    scores = np.array([[np.float32(1e30), 0], [0, np.float32(1e30)], [0, 0]])
    assert run(OneVsRestAUC(2), np.array([0, 1, 0]), scores) == 1.0
    certain = OneVsRestAUC(2, from_logits=False)
    assert run(certain, np.array([0, 1]), np.eye(2, dtype="float32")) == 1.0


def test_keras_area_of_two_classes_agrees():
    labels, logits, weights = make_case(rows=500, num_classes=2)
    theirs = keras.metrics.AUC(num_thresholds=5000)
    theirs.update_state(labels, softmax(logits)[:, 1], weights)
    value = run(OneVsRestAUC(2), labels, logits, weights)
    assert value == pytest.approx(float(theirs.result()), abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"curve": "lift"}, "curve is 'lift'"),
        ({"average": "micro"}, "average is 'micro'"),
        ({"num_bins": 1}, "num_bins is 1; expected 2 or more"),
    ],
)
def test_arguments_that_make_no_sense_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        OneVsRestAUC(3, **arguments)
