"""What cannot be regularised is refused in a sentence."""

import keras
import numpy as np
import pytest
from regularizer_reference import (
    CLASSES,
)

from kerasllm.training import (
    FGM,
    PGD,
    GradientPenalty,
    Mixup,
    RDrop,
    SpatialDropout,
    VirtualAdversarial,
    WeightDecay,
    WeightPenalty,
    WordDropout,
    regularize,
)


class OwnStep(keras.Model):
    def train_step(self, data):
        return {}


def two_embeddings():
    ids = keras.Input((None,), dtype="int32")
    added = keras.layers.Embedding(9, 4, name="a")(ids) + keras.layers.Embedding(9, 4, name="b")(
        ids
    )
    pooled = keras.layers.GlobalAveragePooling1D()(added)
    return keras.Model(ids, keras.layers.Dense(CLASSES)(pooled))


def test_what_cannot_be_regularized_is_refused_in_a_sentence():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match="compiled with a loss"):
        regularize(two_embeddings(), [FGM()])
    with pytest.raises(ValueError, match="train_step of its own"):
        regularize(OwnStep(), [FGM()])
    model = two_embeddings()
    model.compile("sgd", loss)
    with pytest.raises(ValueError, match="but has 2: a, b"):
        regularize(model, [FGM()])
    regularize(model, [FGM()], embedding="b")
    assert np.isfinite(model.train_on_batch(np.ones((2, 3), "int32"), np.zeros(2))).all()
    with pytest.raises(TypeError, match="no Regularizer"):
        regularize(model, ["fgm"])
    with pytest.raises(ValueError, match="from_logits=True, but RDrop from_logits=False"):
        regularize(model, [RDrop(from_logits=False)])
    with pytest.raises(ValueError, match="matches no trainable weight"):
        regularize(model, [WeightDecay(pattern="nothing")])


@pytest.mark.parametrize(
    "make",
    [
        lambda: FGM(0.0),
        lambda: PGD(steps=0),
        lambda: VirtualAdversarial(-1.0),
        lambda: Mixup(0.0),
        lambda: RDrop(float("nan")),
        lambda: WordDropout(1.0),
        lambda: SpatialDropout(-0.1),
        lambda: WeightPenalty(),
        lambda: WeightDecay(0),
        lambda: GradientPenalty(0),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()
