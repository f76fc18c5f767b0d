"""The hypermodel of a pretrained BERT, on a small random folder."""

import keras
import keras_tuner
import numpy as np
import pandas as pd
import pytest
from recipe_helpers import make_rows
from small_bert_folder import write_bert_folder

from kerasllm.data import make_batches
from kerasllm.models import BertClassifier, load_tokenizer
from kerasllm.models.presets import make_classifier, make_schedule
from kerasllm.optimizers import Adam
from kerasllm.text import WordPiecePipeline
from kerasllm.training.parameter_efficient import AdaptedModel
from kerasllm.tuning import BertHyperModel, SearchSpace, TextTask
from kerasllm.tuning.trainings import judged_classifier, train_once
from kerasllm.tuning.tuner import training_seed


def rows(count, seed):
    return pd.DataFrame(make_rows(count, seed), columns=["text", "label"])


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return write_bert_folder(tmp_path_factory.mktemp("pretrained") / "tiny")


@pytest.fixture(scope="module")
def task():
    return TextTask(rows(48, 1), rows(24, 2), max_length=64)


def hyperparameters(hypermodel, **values):
    hp = keras_tuner.HyperParameters()
    hp.values = {**hypermodel.space.defaults(), **values}
    return hp


def test_the_defaults_train_as_the_classification_recipe_does(pretrained, task):
    """The same weights as those of the recipe's own steps, written down here."""
    tuned = BertHyperModel(pretrained, task)
    values = tuned.space.defaults()
    model, history = train_once(tuned, values, seed=5)

    seed = training_seed(values, 5)
    keras.utils.set_random_seed(seed)
    pipeline = WordPiecePipeline(load_tokenizer(pretrained), task.labels, max_length=40)
    plain = make_classifier("bert", len(pipeline.vocabulary), 3, pretrained=pretrained)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(Adam(make_schedule("bert", 3 * 2)), loss)
    ids, labels = pipeline.encode(task.train["text"].tolist()), task.train["label"]
    batches = make_batches(ids, pipeline.label_ids(labels), 32, shuffle=True, seed=seed)
    plain.fit(batches, epochs=3, shuffle=False, verbose=0)

    assert len(history.history["val_macro_f1"]) == 3
    for found, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_every_hyperparameter_has_its_place(pretrained, task):
    tuned = BertHyperModel(pretrained, task)
    assert tuned.epochs == 4 and tuned.space.dimensions["max_length"].values == (40,)
    assert tuned.space.dimensions["frozen_blocks"].values == (0, 2)
    options = {
        "frozen_blocks": 1,
        "layer_decay": 0.5,
        "weight_decay": 0.1,
        "dropout": 0.2,
        "dropout_samples": 4,
        "batch_size": 16,
        "warmup_share": 0.2,
        "learning_rate": 1e-3,
        "epochs": 2,
        "max_length": 12,
    }
    hp = hyperparameters(tuned, **options)
    model = tuned.build(hp)
    assert model.dropout_samples == 4 and model.backbone.dropout == 0.2
    trained = {weight.path for weight in model.trainable_weights}
    assert not any("embedding" in path or "block_0" in path for path in trained)
    assert any("block_1" in path for path in trained)
    optimizer = model.optimizer
    assert optimizer.weight_decay == 0.1
    assert set(optimizer.learning_rate_multipliers.values()) == {0.5}  # of the only block
    assert max(map(len, tuned.pipeline(hp.values).encode(task.train["text"].tolist()))) == 12
    # Two epochs of three batches, of which the first step warms up.
    assert float(optimizer._learning_rate(1)) == pytest.approx(1e-3)
    before = model.get_weights()
    history = tuned.fit(hp, model, seed=3)
    assert len(history.history["loss"]) == 2 and np.isfinite(history.history["loss"]).all()
    changed = [not np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True)]
    for weight, moved in zip(model.weights, changed, strict=True):
        assert moved == (weight.path in trained) or "seed" in weight.path
    assert all(layer.trainable for layer in tuned.finished(model)._flatten_layers())


def test_lora_is_merged_into_what_is_saved(pretrained, task, tmp_path):
    tuned = BertHyperModel(pretrained, task)
    values = {**tuned.space.defaults(), "peft": "lora", "lora_rank": 2, "lora_learning_rate": 1e-3}
    adapted, history = train_once(tuned, values, seed=0)
    assert isinstance(adapted, AdaptedModel) and adapted.method.rank == 2
    assert len(history.history["loss"]) == 3
    inputs = np.array([[2, 7, 8, 3], [2, 9, 3, 0]], "int32")
    expected = adapted.predict(inputs, verbose=0)
    # As the search does it: from the checkpoint of a trial.
    adapted.save_weights(tmp_path / "checkpoint.weights.h5")
    classifier = judged_classifier(tuned, {"values": values}, tmp_path, seed=0)
    assert type(classifier.model) is BertClassifier
    assert all(variable.trainable for variable in classifier.model.trainable_variables)
    found = classifier.model.predict(inputs, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_space_beyond_the_folder_is_refused(pretrained, task):
    space = SearchSpace("bert", {"max_length": [32, 64]})
    with pytest.raises(ValueError, match="max_length is set to 64; expected at most 40"):
        BertHyperModel(pretrained, task, space=space)
    with pytest.raises(ValueError, match="'hidden_dim' is no hyperparameter of bert; there are"):
        SearchSpace("bert", {"hidden_dim": [8]})
    assert SearchSpace("bert", {"attention_dropout": [0.0, 0.1]})
