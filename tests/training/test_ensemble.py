"""Votes and averages of models against NumPy."""

import keras
import numpy as np
import pytest
from regularizer_reference import make_batch, make_model

from kerasllm.models import EmbeddingLSTMClassifier
from kerasllm.training import average_weights, soft_vote


def make_models(count=3):
    models = [make_model() for _ in range(count)]
    for number, model in enumerate(models):
        for weight in model.weights:
            weight.assign(weight * (1 + number) - 0.1 * number)
    return models


def softmax(logits):
    exponentials = np.exp(np.asarray(logits, "float64"))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
def test_soft_vote_is_the_mean_of_probabilities(weights, tmp_path):
    models, (token_ids, _) = make_models(), make_batch()
    expected = np.average([softmax(model(token_ids)) for model in models], axis=0, weights=weights)
    vote = soft_vote(models, weights)
    np.testing.assert_allclose(softmax(vote(token_ids)), expected, rtol=1e-5)
    vote.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(softmax(loaded(token_ids)), expected, rtol=1e-5)


def test_soft_vote_takes_loaded_models_of_one_name(tmp_path):
    token_ids, _ = make_batch()
    model = EmbeddingLSTMClassifier(30, 3, 4, 4, name="same")
    model.save(tmp_path / "model.keras")
    vote = soft_vote([keras.models.load_model(tmp_path / "model.keras") for _ in range(2)])
    np.testing.assert_allclose(softmax(vote(token_ids)), softmax(model(token_ids)), rtol=1e-5)


def test_average_weights_is_the_mean_of_each_weight():
    models = make_models()
    average = average_weights(models, [1.0, 1.0, 2.0])
    for mine, *theirs in zip(
        average.get_weights(), *(model.get_weights() for model in models), strict=True
    ):
        np.testing.assert_allclose(mine, np.average(theirs, axis=0, weights=[1, 1, 2]), rtol=1e-6)


def test_what_does_not_go_together_is_refused():
    models = make_models(2)
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for function in (soft_vote, average_weights):
        with pytest.raises(ValueError, match="should"):
            function([models[0], other])
        with pytest.raises(ValueError, match="should"):
            function([])
        with pytest.raises(ValueError, match="expected 2 numbers above 0"):
            function(models, [1.0, 0.0])
