"""Stages of a model, and what follows from them: learning rates by depth, freezing, thawing."""

import keras
import numpy as np
import pytest
from small_transformer import make_dataset, make_model

from kerasllm.layers import Embedding
from kerasllm.models import EmbeddingLSTMClassifier
from kerasllm.training.fine_tune import GradualUnfreezing, find_stages, freeze, layer_multipliers


def names(layers):
    return [layer.name for layer in layers if layer.weights]


def nested(model):
    """The model's layers but for the last as a model in a model."""
    encoder = keras.Model(model.inputs, model.get_layer("pooling").output, name="encoder")
    inputs = keras.Input((None,), dtype="int32")
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(encoder(inputs)))


@pytest.mark.parametrize("wrap", [lambda model: model, nested])
def test_stages_are_in_the_order_of_the_computation(wrap):
    stages = find_stages(wrap(make_model()))
    assert names(stages.embeddings)[:2] == ["embedding", "norm"]
    assert [names(block)[0] for block in stages.blocks] == ["block_0", "block_1", "block_2"]
    assert names(stages.head)[-1] == "logits"
    pre_norm = find_stages(make_model(pre_norm=True))
    assert names(pre_norm.embeddings)[0] == "embedding" and names(pre_norm.head)[0] == "norm"


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match="has no transformer block"):
        find_stages(EmbeddingLSTMClassifier(20, 2, 4, 4))
    with pytest.raises(ValueError, match="has no transformer block"):
        find_stages(keras.Sequential([keras.Input((3,), dtype="int32"), Embedding(4, 4)]))


def test_learning_rates_fall_with_depth():
    multipliers = layer_multipliers(make_model(), 0.5)
    assert multipliers == {
        "embedding": 0.0625,
        "norm": 0.0625,
        "block_0": 0.125,
        "block_1": 0.25,
        "block_2": 0.5,
    }
    with pytest.raises(ValueError, match=r"decay is 1\.5"):
        layer_multipliers(make_model(), 1.5)


def changed_layers(model, before):
    """Names of top-level layers some weight of which is another than before."""
    return {
        weight.path.split("/")[0]
        for weight, old in zip(model.weights, before, strict=True)
        if not np.array_equal(weight, old)
    }


def compiled(model):
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_frozen_layers_keep_their_bits_and_are_in_no_gradient():
    model = compiled(freeze(make_model(), blocks=2))
    before = model.get_weights()
    model.fit(make_dataset(), epochs=2, shuffle=False, verbose=0)
    assert changed_layers(model, before) == {"block_2", "logits"}
    assert len(model.optimizer.variables) < 2 * len(model.weights)
    assert len(freeze(model, embeddings=False).trainable_weights) == len(model.weights)
    with pytest.raises(ValueError, match="4 blocks are to be frozen, but there are 3"):
        freeze(model, blocks=4)
    with pytest.raises(ValueError, match="frozen from below"):
        freeze(model, embeddings=False, blocks=1)


class ChangedEachEpoch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.changed, self.trainable = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.before = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        self.changed.append(changed_layers(self.model, self.before))
        self.trainable.append(len(self.model.trainable_weights))


def test_gradual_unfreezing_thaws_from_the_head_down(tmp_path):
    model = compiled(make_model())
    count = len(model.trainable_weights)
    spy = ChangedEachEpoch()
    callbacks = [GradualUnfreezing(), spy]
    model.fit(
        make_dataset(), validation_data=make_dataset(), epochs=6, callbacks=callbacks,
        shuffle=False, verbose=0,
    )  # fmt: skip
    order = ["logits", "block_2", "block_1", "block_0"]
    assert spy.changed[:4] == [set(order[: epoch + 1]) for epoch in range(4)]
    assert spy.changed[4] == spy.changed[5] == {*order, "embedding", "norm"}
    assert spy.trainable == [count] * 6  # a model that is saved there is a whole one
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)


def test_gradual_unfreezing_goes_on_at_its_epoch():
    model = compiled(make_model())
    spy = ChangedEachEpoch()
    callbacks = [GradualUnfreezing(epochs_per_block=2, blocks_at_first=1), spy]
    model.fit(
        make_dataset(), initial_epoch=1, epochs=3, callbacks=callbacks, shuffle=False, verbose=0
    )
    assert spy.changed == [{"logits", "block_2"}, {"logits", "block_2", "block_1"}]
