"""Perplexity and token accuracy against NumPy and Keras."""

import keras
import numpy as np
import pytest
from metrics.cases import make_token_case, softmax

from kerasllm.metrics import Perplexity, TokenAccuracy


def losses_of(labels, logits):
    return -np.log(np.take_along_axis(softmax(logits), labels[..., None], axis=-1))[..., 0]


def value_of(metric, *batches):
    for batch in batches:
        metric.update_state(*batch)
    return float(metric.result())


@pytest.mark.parametrize("inputs", ["logits", "probabilities", "losses"])
def test_perplexity_is_of_all_tokens_that_count(inputs):
    labels, logits, mask = make_token_case()
    losses = losses_of(labels, logits)
    given = {"logits": logits, "probabilities": softmax(logits), "losses": losses}[inputs]
    expected = np.exp(losses[mask].mean())
    assert value_of(Perplexity(inputs), (labels, given, mask)) == pytest.approx(expected, rel=1e-5)
    cut = [(labels[:1], given[:1], mask[:1]), (labels[1:], given[1:], mask[1:])]
    assert value_of(Perplexity(inputs), *cut) == pytest.approx(expected, rel=1e-5)
    marked = np.where(mask, labels, 77)
    ignoring = Perplexity(inputs, ignore_class=77)
    assert value_of(ignoring, (marked, given)) == pytest.approx(expected, rel=1e-5)


def test_losses_may_carry_a_mask_and_padding_may_be_infinite():
    labels, logits, mask = make_token_case()
    losses = keras.ops.convert_to_tensor(np.where(mask, losses_of(labels, logits), np.inf))
    losses._keras_mask = keras.ops.convert_to_tensor(mask)
    expected = np.exp(losses_of(labels, logits)[mask].mean())
    assert value_of(Perplexity("losses"), (labels, losses)) == pytest.approx(expected, rel=1e-5)


def test_equal_logits_are_as_perplexed_as_there_are_tokens():
    assert value_of(Perplexity(), (np.zeros((2, 3)), np.zeros((2, 3, 50)))) == pytest.approx(50)


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_token_accuracy_is_keras_own_where_keras_has_one(top_k):
    labels, logits, mask = make_token_case()
    theirs = keras.metrics.SparseTopKCategoricalAccuracy(top_k)
    theirs.update_state(labels[mask], logits[mask])
    expected = float(theirs.result())
    for y_true, weight in ((labels, mask), (np.where(mask, labels, -100), None)):
        ours = value_of(TokenAccuracy(top_k), (y_true, logits, weight))
        assert ours == pytest.approx(expected, abs=1e-6)
    padded = np.where(mask, labels + 1, 0)  # 0 is padding, as in our vocabularies
    scores = np.concatenate([np.full((*logits.shape[:-1], 1), -9), logits], axis=-1)
    ours = value_of(TokenAccuracy(top_k, ignore_class=0), (padded, scores))
    assert ours == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Perplexity("log"), "inputs is 'log'; expected one of"),
        (lambda: TokenAccuracy(0), "top_k is 0; expected 1 or more"),
    ],
)
def test_arguments_that_make_no_sense_are_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()
