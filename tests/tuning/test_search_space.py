"""The search space as data: defaults, a user's changes, and what is refused."""

import json

import keras_tuner
import pytest

from kerasllm.models.presets import CLASSIFIER_PRESETS, PRETRAINED_PRESETS, make_classifier
from kerasllm.tuning import SEARCH_SPACES, Choice, Range, SearchSpace, read_changes


@pytest.mark.parametrize("name", CLASSIFIER_PRESETS)
def test_defaults_are_those_of_the_preset(name):
    space, preset = SearchSpace(name), CLASSIFIER_PRESETS[name]
    defaults = space.defaults()
    assert defaults["learning_rate"] == preset["learning_rate"]
    assert defaults["warmup_share"] == preset["warmup_share"]
    assert defaults["batch_size"] == 128 and defaults["tokenizer"] == "jieba"
    assert not any(defaults[key] for key in ("label_smoothing", "word_dropout", "ema"))
    assert defaults["second_pass"] == "none" and defaults["epochs_share"] == 1.0
    # Those of AdamW, FGM and R-Drop, which are not the default.
    assert not {"weight_decay", "fgm", "r_drop"} & set(defaults)
    plain = make_classifier(name, 50, 2).get_config()
    ours = make_classifier(name, 50, 2, **space.model_arguments(defaults)).get_config()
    assert {**plain, "name": ""} == {**ours, "name": ""}


def test_defaults_of_a_pretrained_model_are_those_of_the_classification_recipe():
    defaults, preset = SearchSpace("bert").defaults(), PRETRAINED_PRESETS["bert"]
    for name in ("learning_rate", "warmup_share", "batch_size", "epochs"):
        assert defaults[name] == preset[name]
    assert defaults["dropout"] == preset["arguments"]["dropout"]
    assert defaults["peft"] == "none" and defaults["max_length"] == 256
    off = {"frozen_blocks": 0, "layer_decay": 1.0, "weight_decay": 0.0, "dropout_samples": 1}
    assert off.items() <= defaults.items()
    assert not {"lora_rank", "lora_learning_rate"} & set(defaults)


def test_limits_of_a_task_cut_the_spaces_own_choices_and_refuse_the_users():
    limits = {"max_length": 100, "frozen_blocks": 3, "epochs": 1}
    space = SearchSpace("bert", {"frozen_blocks": [0, 3]}).limited(limits)
    assert space.dimensions["max_length"].values == (64, 100)
    assert space.dimensions["frozen_blocks"].values == (0, 3)
    assert space.dimensions["epochs"].values == (1,)
    defaults = space.defaults()
    assert defaults["max_length"] == 100 and defaults["epochs"] == 1
    with pytest.raises(ValueError, match="frozen_blocks is set to 4; expected at most 3"):
        SearchSpace("bert", {"frozen_blocks": [0, 4]}).limited(limits)
    assert SEARCH_SPACES["bert"]["max_length"].values == (64, 128, 256)


@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_keras_tuner_gets_the_same_defaults(name):
    space, hp = SearchSpace(name), keras_tuner.HyperParameters()
    assert space.declare(hp) == space.defaults()
    assert {one.name for one in hp.space} == set(space.dimensions)


def test_a_hyperparameter_of_another_one_is_there_only_with_it():
    space, hp = SearchSpace("embedding_lstm"), keras_tuner.HyperParameters()
    hp.values = {"optimizer": "adamw", "weight_decay": 0.05}
    assert space.declare(hp)["weight_decay"] == 0.05


def test_changes_take_the_place_of_ranges():
    changes = {
        "units": [16, 32],
        "tokenizer": "char",
        "dropout": {"low": 0.1, "high": 0.2},
        "learning_rate": 0.01,
        "bidirectional": [True, False],
        "fgm": [0.1, 1],
    }
    space = SearchSpace("embedding_lstm", changes)
    assert space.dimensions["units"].values == (16, 32)
    assert space.dimensions["fgm"].values == (0.1, 1.0)
    assert space.dimensions["learning_rate"] == Choice((0.01,))
    defaults = space.defaults()
    assert defaults["units"] == 16  # 128 is none of them
    assert defaults["tokenizer"] == "char" and defaults["dropout"] == 0.2
    assert defaults["bidirectional"] is True  # the preset's
    assert SEARCH_SPACES["embedding_lstm"]["units"].values != (16, 32)


def test_a_grid_has_points_of_ranges_with_the_default_among_them():
    space = SearchSpace("embedding_lstm", grid_points=3)
    assert not any(isinstance(one, Range) for one in space.dimensions.values())
    assert space.dimensions["learning_rate"].values == (5e-4, 2e-3, 8e-3)
    assert space.dimensions["dropout"].values == (0.3, 0.6, 0.75)
    assert space.defaults() == SearchSpace("embedding_lstm").defaults()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": [8]}, "'unit' is no hyperparameter of embedding_lstm; there are batch_size, "),
        ({"dtype": ["float32"]}, "'dtype' is no hyperparameter"),
        ({"units": []}, r"values of units are \[\]; expected one or more"),
        ({"units": [8, "16"]}, "all numbers"),
        ({"units": [8, 8]}, "all different"),
        ({"units": ["eight"]}, "expected values like 64, 128, 192"),
        ({"units": {"low": 8, "high": 64}}, "units cannot be a range"),
        ({"tokenizer": ["word"]}, "expected some of jieba, char"),
        ({"dropout": {"low": 0.5}}, r"range of dropout is .*expected"),
        ({"dropout": {"low": 0.5, "high": 0.5}}, "lower one below the higher"),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, "both above 0"),
        ({"dropout": {"low": 0.1, "high": 0.5, "step": 0.1}}, "range of dropout"),
        ({"dropout": "high"}, "expected values like 0.3 to 0.75"),
        ({"units": [None]}, "all numbers, all texts"),
    ],
)
def test_a_wrong_space_is_refused_in_a_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        SearchSpace("embedding_lstm", changes)


def test_files_that_hold_no_space_are_refused(tmp_path):
    path = tmp_path / "space.json"
    path.write_text(json.dumps({"units": [8]}))
    assert read_changes(path) == {"units": [8]}
    path.write_text("{'units'}")
    with pytest.raises(ValueError, match=r"space\.json is no JSON"):
        read_changes(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="holds a list; expected an object"):
        read_changes(path)
    with pytest.raises(OSError):
        read_changes(tmp_path / "none.json")
