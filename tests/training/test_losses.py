"""Smoothed and focal cross-entropy against Keras's losses of one-hot labels."""

import keras
import numpy as np
import pytest

from kerasllm.training import SmoothedCrossentropy, SparseFocalCrossentropy

LABELS = np.array([0, 2, 1, 1, 0])
ONE_HOT = np.eye(3)[LABELS]
LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype("float32") * 3
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
WEIGHTS = np.array([1.0, 0.0, 2.0, 0.5, 1.0])


def pairs(from_logits):
    return [
        (
            SmoothedCrossentropy(0.2, from_logits),
            keras.losses.CategoricalCrossentropy(from_logits, label_smoothing=0.2),
        ),
        (
            SparseFocalCrossentropy(2.0, from_logits),
            keras.losses.CategoricalFocalCrossentropy(1.0, 2.0, from_logits),
        ),
        (
            SparseFocalCrossentropy(0.5, from_logits),
            keras.losses.CategoricalFocalCrossentropy(1.0, 0.5, from_logits),
        ),
    ]


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_values_are_those_of_the_loss_of_one_hot_labels(from_logits, weights, shape):
    predictions = LOGITS if from_logits else PROBABILITIES
    for ours, theirs in pairs(from_logits):
        found = float(ours(LABELS.reshape(shape), predictions, sample_weight=weights))
        expected = float(theirs(ONE_HOT, predictions, sample_weight=weights))
        assert found == pytest.approx(expected, rel=1e-5)


def test_without_strength_they_are_cross_entropy():
    expected = float(keras.losses.SparseCategoricalCrossentropy(True)(LABELS, LOGITS))
    for loss in (SmoothedCrossentropy(0.0), SparseFocalCrossentropy(0.0)):
        assert float(loss(LABELS, LOGITS)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients_of_rows_that_are_certain_are_finite(gamma):
    tf = pytest.importorskip("tensorflow")
    logits = tf.Variable([[200.0, 0.0], [0.0, 200.0]])
    with tf.GradientTape() as tape:
        loss = SparseFocalCrossentropy(gamma)(np.array([0, 0]), logits)
    assert np.isfinite(tape.gradient(loss, logits).numpy()).all()


@pytest.mark.parametrize("loss", [SmoothedCrossentropy(0.2, False), SparseFocalCrossentropy(3.0)])
def test_config_makes_the_same_loss(loss):
    twin = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(twin) is type(loss) and twin.get_config() == loss.get_config()


def test_strengths_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="label_smoothing is 1"):
        SmoothedCrossentropy(1.0)
    with pytest.raises(ValueError, match="gamma is -1"):
        SparseFocalCrossentropy(-1.0)
