"""The search recipe with --model bert, on a small random folder."""

import json
import os

import pytest
from processes import PROJECT
from recipe_helpers import load_recipe, make_rows, read_table
from small_bert_folder import write_bert_folder

from kerasllm import TextClassifier
from kerasllm.models import BertClassifier

SEARCH = PROJECT / "recipes" / "tuner_search.py"


@pytest.fixture
def command(tables, tmp_path):
    """The recipe's arguments for a search in `tmp_path / "run"`."""
    pretrained = write_bert_folder(tmp_path / "tiny")
    space = tmp_path / "space.json"
    space.write_text(json.dumps({"peft": ["none", "lora"], "batch_size": 16, "epochs": [1, 2]}))
    command = [*tables, "--model", "bert", "--pretrained", str(pretrained), "--space", str(space)]
    return [*command, "--algorithm", "random", "--output-dir", str(tmp_path / "run")]


@pytest.mark.slow
def test_it_searches_and_its_model_predicts(command, predict, tmp_path):
    folder = tmp_path / "run"
    reports = load_recipe(SEARCH).main([*command, "--max-trials", "1", "--confirm", "0"])
    left = {"model.keras", "text_pipeline.json", "vocab.txt", "metrics.json", "errors.csv"}
    assert left <= set(os.listdir(folder / "best_model"))
    assert type(TextClassifier.load(folder / "best_model").model) is BertClassifier
    texts, answers = tmp_path / "texts.txt", tmp_path / "answers.csv"
    judged = make_rows(60, seed=2)  # the test table
    texts.write_text("\n".join(" ".join(text.split()) for text, _ in judged), encoding="utf-8")
    arguments = ["--model-dir", folder / "best_model", "--input", texts, "--output", answers]
    predict.main([str(argument) for argument in arguments])
    found = [row["label"] for row in read_table(answers)]
    right = sum(label == truth for label, (_, truth) in zip(found, judged, strict=True))
    assert right / 60 == pytest.approx(reports["test"]["accuracy"])


@pytest.mark.slow
def test_it_is_compared_with_the_default_and_goes_on(command, tmp_path):
    search, folder = load_recipe(SEARCH), tmp_path / "run"
    command = [*command, "--confirm", "1"]
    search.main([*command, "--max-trials", "1", "--compare-default", "1"])
    comparison = json.loads((folder / "comparison.json").read_text("utf-8"))
    # What the recipe does has three epochs, whatever the space.
    assert comparison["default"]["runs"][0]["epochs"] == 3
    search.main([*command, "--max-trials", "2", "--resume"])
    assert [row["status"] for row in read_table(folder / "trials.csv")] == ["done"] * 2


def test_without_a_folder_it_says_so(tmp_path):
    search = load_recipe(SEARCH)
    for arguments in (["--model", "bert"], ["--pretrained", "folder"]):
        with pytest.raises(
            ValueError, match="--model bert and --pretrained FOLDER belong together"
        ):
            search.main([*arguments, "--output-dir", str(tmp_path / "run")])
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        search.main(
            ["--model", "bert", "--pretrained", str(tmp_path / "none"), "--output-dir", "x"]
        )
    assert not (tmp_path / "run").exists()
