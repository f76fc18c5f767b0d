"""The calibration error against the paper's equation, written out in NumPy."""

import numpy as np
import pytest
from metrics.cases import CUTS, make_case, make_token_case, run, softmax

from kerasllm.metrics import ExpectedCalibrationError


def expected(labels, probabilities, weights=None, num_bins=15):
    """Equation 3 of Guo et al. (2017), bin by bin."""
    weights = np.ones(len(labels)) if weights is None else weights
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    error = 0.0
    for m in range(num_bins):
        inside = (confidence > m / num_bins) & (confidence <= (m + 1) / num_bins)
        if weights[inside].sum():
            accuracy = np.average(right[inside], weights=weights[inside])
            sureness = np.average(confidence[inside], weights=weights[inside])
            error += weights[inside].sum() / weights.sum() * abs(accuracy - sureness)
    return error


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_any_cut_into_batches_gives_the_papers_value(weighted, num_bins):
    labels, logits, weights = make_case(sureness=2.0)
    weights = weights if weighted else None
    value = expected(labels, softmax(logits), weights, num_bins)
    assert value > 0.02
    for cuts in CUTS:
        metric = ExpectedCalibrationError(num_bins)
        assert run(metric, labels, logits, weights, cuts) == pytest.approx(value, abs=1e-5)


def test_probabilities_are_taken_as_they_are():
    labels, logits, _ = make_case()
    metric = ExpectedCalibrationError(from_logits=False)
    value = run(metric, labels, softmax(logits))
    assert value == pytest.approx(run(ExpectedCalibrationError(), labels, logits), abs=1e-5)


def test_always_sure_and_half_right_is_off_by_half():
    scores = np.tile([100.0, 0.0], (10, 1))
    assert run(ExpectedCalibrationError(), np.array([0, 1] * 5), scores) == pytest.approx(0.5)


def test_masked_tokens_do_not_count():
    labels, logits, mask = make_token_case()
    metric = ExpectedCalibrationError()
    metric.update_state(labels, logits, mask)
    value = expected(labels[mask], softmax(logits[mask]))
    assert float(metric.result()) == pytest.approx(value, abs=1e-5)


def test_nothing_seen_is_zero():
    assert float(ExpectedCalibrationError().result()) == 0.0


def test_no_bins_are_an_error():
    with pytest.raises(ValueError, match="num_bins is 0; expected 1 or more"):
        ExpectedCalibrationError(0)
