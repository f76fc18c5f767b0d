"""The fine-tuning recipe as a user runs it, on a small random pretrained folder."""

import json
import os
import signal
import subprocess
import time

import keras
import numpy as np
import pytest
from processes import PROJECT, start_python
from recipe_helpers import OPENINGS, OPINIONS, load_recipe, make_rows, read_table

from kerasllm import TextClassifier
from kerasllm.models import BertBackbone, BertClassifier, BertMaskedLM
from kerasllm.text import WordPieceTokenizer
from kerasllm.training.parameter_efficient import AdaptedModel, load_adapter

FINETUNE = PROJECT / "recipes" / "finetune_bert.py"
OUTPUTS = {
    "checkpoints",
    "confusion_matrix.png",
    "errors.csv",
    "learning_curves.png",
    "metrics.json",
    "model.keras",
    "settings.json",
    "tensorboard",
    "text_pipeline.json",
    "vocab.txt",
    "wordpiece_tokenizer.json",
}


@pytest.fixture(scope="module")
def finetune():
    return load_recipe(FINETUNE)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A folder as a masked language model leaves it: no pooler, and no classifier."""
    folder = tmp_path_factory.mktemp("pretrained") / "tiny"
    characters = sorted(set("".join(OPENINGS) + "".join(map("".join, OPINIONS.values()))))
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "，", *characters]
    tokens = list(dict.fromkeys(tokens))
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "max_length": 64}
    model = BertMaskedLM(BertBackbone(len(tokens), pooler_activation=None, **sizes))
    for weight in model.trainable_weights:
        if weight.name == "kernel":
            weight.assign(5 * weight)  # so that the text tells in the output
    model.save_pretrained(folder, WordPieceTokenizer(tokens))
    return folder


@pytest.fixture(scope="module")
def arguments(pretrained, tables):
    """All arguments but for the method and the folder."""
    options = ["--epochs", "4", "--batch-size", "8", "--learning-rate", "0.005"]
    return [*tables, "--pretrained", str(pretrained), *options, "--max-length", "32"]


@pytest.mark.parametrize("peft", ["none", "lora", "adapter", "prompt"])
def test_a_run_leaves_what_it_promises(peft, finetune, arguments, pretrained, tmp_path, capsys):
    folder = tmp_path / "run"
    finetune.main([*arguments, "--peft", peft, "--output-dir", str(folder)])
    printed = capsys.readouterr().out
    adapted = peft != "none"
    assert set(os.listdir(folder)) == OUTPUTS | ({"adapter.weights.h5"} if adapted else set())
    assert ("(100.00%)" in printed) != adapted and "parameters train (" in printed
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics) == ["valid", "test"]
    if not adapted:  # beside frozen weights without a meaning there is little to learn
        assert metrics["valid"]["macro_f1"] > 0.5
    classifier = TextClassifier.load(folder)
    assert isinstance(classifier.model, AdaptedModel) == (peft in ("adapter", "prefix", "prompt"))
    texts = [text for text, _ in make_rows(60, 2)]
    predictions = classifier.predict(texts)
    truths = [label for _, label in make_rows(60, 2)]
    wrong = sum(label != truth for (label, _), truth in zip(predictions, truths, strict=True))
    assert wrong == len(read_table(folder / "errors.csv"))
    assert wrong / 60 == pytest.approx(1 - metrics["test"]["accuracy"])
    if adapted:
        base = BertClassifier.from_pretrained(
            pretrained, num_classes=3, missing="new", surplus="ignore"
        )
        again = TextClassifier(
            load_adapter(base, folder / "adapter.weights.h5"), classifier.pipeline
        )
        found, expected = again.probabilities(texts), classifier.probabilities(texts)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_fresh_weights_have_the_folders_shape_alone(finetune, arguments, pretrained):
    built = {}
    for options in ([], ["--fresh-weights"]):
        parsed = finetune.parse_arguments([*arguments, *options, "--learning-rate", "0.1"])
        model = finetune.build_model(parsed, 3, train_steps=10)
        built[len(options)] = model.backbone.get_weights()
    assert [w.shape for w in built[0]] == [w.shape for w in built[1]]
    kernels = [(a, b) for a, b in zip(built[0], built[1], strict=True) if a.ndim > 1]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in kernels)


@pytest.mark.slow
def test_killed_run_ends_like_the_unbroken_one(finetune, arguments, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = [*arguments, "--peft", "adalora", "--layer-decay", "0.9"]
    finetune.main([*arguments, "--output-dir", str(whole)])
    command = [*arguments, "--output-dir", str(killed)]
    process = start_python(FINETUNE, *command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 200
        while not (killed / "checkpoints" / "state.json").is_file():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (killed / "metrics.json").exists()
    with pytest.raises(FileExistsError, match="Add --resume"):
        finetune.main(command)
    finetune.main([*command, "--resume"])
    for name in ("metrics.json", "errors.csv"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()


def test_what_cannot_be_is_one_sentence(finetune, arguments, tmp_path, capsys):
    output = ["--output-dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        finetune.main([*arguments, "--peft", "magic", *output])
    assert "invalid choice: 'magic'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="positions for 64 tokens"):
        finetune.main([*arguments, "--max-length", "65", *output])
    # None of these has begun to learn, so the folder is free.
    finetune.main([*arguments, "--epochs", "1", *output])
    output = ["--output-dir", str(tmp_path / "other")]
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        finetune.main([*arguments, "--pretrained", str(tmp_path / "none"), *output])
