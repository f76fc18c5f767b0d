"""The classification recipe with --model bert, on a small random folder."""

import json

import keras
import pytest
from recipe_helpers import OPENINGS, OPINIONS, read_table

from kerasllm import TextClassifier
from kerasllm.models import BertBackbone, BertMaskedLM, load_tokenizer
from kerasllm.text import WordPieceTokenizer

CUT = ["--max-length", "32"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A folder as a masked language model leaves it: a head of its own, and no classifier."""
    folder = tmp_path_factory.mktemp("pretrained") / "tiny"
    characters = sorted(set("".join(OPENINGS) + "".join(map("".join, OPINIONS.values()))))
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "，", *characters]
    tokens = list(dict.fromkeys(tokens))
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "max_length": 64}
    model = BertMaskedLM(BertBackbone(len(tokens), pooler_activation=None, **sizes))
    model.save_pretrained(folder, WordPieceTokenizer(tokens))
    return folder


@pytest.fixture(scope="module")
def finished(pretrained, tables, classification, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "bert"
    options = ["--epochs", "8", "--batch-size", "8", "--learning-rate", "0.003"]
    arguments = [*tables, "--model", "bert", "--pretrained", str(pretrained), *options, *CUT]
    classification.main([*arguments, "--output-dir", str(folder)])
    return folder, arguments


def test_a_pretrained_model_is_fine_tuned_from_end_to_end(finished, pretrained):
    folder, _ = finished
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["macro_f1"] > 0.6
    classifier = TextClassifier.load(folder)
    assert classifier.pipeline.tokenizer.tokens == load_tokenizer(pretrained).tokens
    assert len(classifier.pipeline.encode(["好" * 99])[0]) == 32
    (label, _), *_ = classifier.predict(["太让人失望了，再也不来了，差劲"])
    assert label == "差评"


def test_the_prediction_recipe_answers_with_it(finished, predict, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("真的很满意\n\n再也不来了，差劲\n", encoding="utf-8")
    answers = tmp_path / "answers.csv"
    arguments = ["--model-dir", finished[0], "--input", texts, "--output", answers]
    predict.main([str(argument) for argument in arguments])
    assert [row["label"] for row in read_table(answers)] == ["好评", "", "差评"]


def test_its_run_is_resumed_without_the_folder_of_weights(finished, classification):
    folder, arguments = finished
    reports = classification.main([*arguments, "--output-dir", str(folder), "--resume"])
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert reports["test"]["accuracy"] == metrics["test"]["accuracy"]


def test_the_fine_tuned_model_goes_to_a_folder_of_transformers(finished, tmp_path):
    classifier = TextClassifier.load(finished[0])
    pipeline = classifier.pipeline
    classifier.model.save_pretrained(tmp_path, pipeline.tokenizer, pipeline.labels)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "中评", "1": "好评", "2": "差评"}


@pytest.mark.parametrize("arguments", [["--model", "bert"], ["--pretrained", "folder"]])
def test_one_without_the_other_is_refused(arguments, classification):
    with pytest.raises(ValueError, match="--model bert and --pretrained FOLDER belong together"):
        classification.main(arguments)


def test_a_folder_that_is_not_there_is_refused(classification, tables, tmp_path):
    arguments = ["--model", "bert", "--pretrained", str(tmp_path / "none")]
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        classification.main([*tables, *arguments, "--output-dir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
