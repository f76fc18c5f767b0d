"""Hypermodels: what hyperparameters do to a model and its training."""

import keras_tuner
import numpy as np
import pandas as pd
import pytest
from recipe_helpers import make_rows

from kerasllm.optimizers import Adam, AdamW
from kerasllm.training import FGM, RDrop, SmoothedCrossentropy, WordDropout
from kerasllm.tuning import (
    EmbeddingLSTMHyperModel,
    Search,
    SearchSpace,
    TextTask,
    TransformerHyperModel,
)
from kerasllm.tuning.hypermodel import EPOCHS, regularizers
from kerasllm.tuning.trainings import train_once

SMALL = {"embedding_lstm": {"units": [4, 8], "embedding_dim": 8}, "transformer": {"hidden_dim": 8}}


def rows(count, seed):
    return pd.DataFrame(make_rows(count, seed), columns=["text", "label"])


@pytest.fixture(scope="module")
def task():
    return TextTask(rows(60, 1), rows(24, 2), max_length=16)


def hyperparameters(space, **values):
    hp = keras_tuner.HyperParameters()
    hp.values = {**space.defaults(), **values}
    return hp


@pytest.mark.parametrize("hypermodel", [EmbeddingLSTMHyperModel, TransformerHyperModel])
def test_every_kind_of_hyperparameter_has_its_place(task, hypermodel):
    name = hypermodel(task).preset
    space = SearchSpace(name, SMALL[name])
    tuned = hypermodel(task, epochs=4, space=space)
    plain = tuned.build(hyperparameters(space))
    assert type(plain.optimizer) is Adam and "train_step" not in vars(plain)
    options = {
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "second_pass": "fgm",
        "fgm": 0.3,
        "word_dropout": 0.1,
        "batch_size": 32,
        "pooling": "mean",
        "schedule": "constant",
        "warmup_share": 0.1,
        "tokenizer": "char",
        "min_frequency": 1,
        "ema": 0.99,
        "class_weights": "balanced",
        "learning_rate": 0.004,
        "epochs_share": 0.5,
    }
    hp = hyperparameters(space, **options)
    model = tuned.build(hp)
    assert type(model.optimizer) is AdamW and model.optimizer.weight_decay == 0.05
    decayed = [model.optimizer._use_weight_decay(weight) for weight in model.trainable_weights]
    names = [weight.name for weight in model.trainable_weights]
    assert decayed == [weight not in ("bias", "gamma", "beta") for weight in names]
    assert isinstance(model.loss, SmoothedCrossentropy) and "train_step" in vars(model)
    assert model.pooling == "mean"
    # Two epochs of two batches; the first tenth of four steps is none.
    schedule = model.optimizer._learning_rate
    assert [float(schedule(step)) for step in (0, 3, 4)] == pytest.approx([0.004] * 3)
    history = tuned.fit(hp, model, seed=3)
    assert len(history.history["val_macro_f1"]) == 2 and not history.out_of_time
    assert np.isfinite(history.history["loss"]).all()


def test_regularizers_are_those_that_are_asked_for():
    off = {"word_dropout": 0.0, "second_pass": "none"}
    assert regularizers(off) == []
    dropped, second = regularizers({"word_dropout": 0.2, "second_pass": "r_drop", "r_drop": 2.0})
    assert isinstance(dropped, WordDropout) and dropped.rate == 0.2
    assert isinstance(second, RDrop) and second.alpha == 2.0
    (fgm,) = regularizers({**off, "second_pass": "fgm", "fgm": 0.7})
    assert isinstance(fgm, FGM) and fgm.epsilon == 0.7


def test_hyperband_says_how_long_a_trial_is(task):
    space = SearchSpace("embedding_lstm", SMALL["embedding_lstm"])
    tuned = EmbeddingLSTMHyperModel(task, epochs=9, space=space)
    assert tuned.scheduled_epochs(space.defaults()) == 9
    assert tuned.scheduled_epochs({**space.defaults(), "epochs_share": 0.3}) == 3
    hp = hyperparameters(space, **{EPOCHS: 2})
    history = tuned.fit(hp, tuned.build(hp))
    assert len(history.history["loss"]) == 2


def test_a_training_depends_on_its_values_and_seed_alone(task):
    space = SearchSpace("embedding_lstm", SMALL["embedding_lstm"])
    tuned = EmbeddingLSTMHyperModel(task, epochs=2, space=space)
    values = {**space.defaults(), "second_pass": "r_drop", "r_drop": 1.0}
    histories = [train_once(tuned, values, seed)[1].history for seed in (1, 2, 1)]
    assert histories[0] == histories[2] != histories[1]


def test_time_ends_a_training_inside_an_epoch(task):
    space = SearchSpace("embedding_lstm", {**SMALL["embedding_lstm"], "batch_size": 4})
    tuned = EmbeddingLSTMHyperModel(task, epochs=50, space=space)
    model, history = train_once(tuned, space.defaults(), 0, seconds=0.0)
    assert history.out_of_time and int(model.optimizer.iterations) == 1
    assert len(history.history["val_macro_f1"]) == 1


@pytest.mark.slow
def test_memory_of_finished_trials_is_given_back(task, tmp_path):
    space = SearchSpace("embedding_lstm", SMALL["embedding_lstm"])
    sizes = []

    def report(line):
        with open("/proc/self/statm") as file:
            sizes.append(int(file.read().split()[1]) * 4096 / 2**20)

    tuned = EmbeddingLSTMHyperModel(task, epochs=1, space=space)
    Search(tmp_path, tuned, "random", max_trials=30, confirm=0, report=report).run()
    # MiB after each trial; the first ones load what all of them use.
    assert sizes[-3] - sizes[20] < 1.0 * (len(sizes) - 23)
