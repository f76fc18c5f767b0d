"""The recipe that pretrains BERTs, as a user runs it."""

import csv
import json

import numpy as np
import pytest
from processes import PROJECT
from recipe_helpers import load_recipe, make_rows, write_table

from kerasllm.models import BertClassifier, BertMaskedLM
from kerasllm.text import WordPieceTokenizer
from kerasllm.training.pretraining import Pretrainer

RECIPE = PROJECT / "recipes" / "pretrain_bert.py"


@pytest.fixture(scope="module")
def recipe():
    return load_recipe(RECIPE)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder, arguments = tmp_path_factory.mktemp("corpus"), []
    for seed, (name, count) in enumerate({"corpus": 300, "valid": 30}.items()):
        path = write_table(folder / f"{name}.csv", make_rows(count, seed))
        arguments += [f"--{name}", str(path)]
    fixed = ["--preset", "tiny", "--max-length", "64", "--length", "64", "--batch-size", "4"]
    return [*arguments, *fixed, "--steps", "24", "--checkpoint-seconds", "0"]


@pytest.fixture(scope="module")
def unbroken(recipe, arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    return folder, recipe.main([*arguments, "--output-dir", str(folder)])


def rows_of(folder):
    with open(folder / "steps.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_run_leaves_a_folder_that_classifiers_load(recipe, unbroken):
    folder, metrics = unbroken
    assert json.loads((folder / "metrics.json").read_text("utf-8")) == metrics
    for name in ("accuracy", "loss", "tokens_per_second", "share_of_peak", "seconds"):
        assert metrics[name] > 0
    assert 0 < metrics["valid"]["masked_accuracy"] < 1
    losses = [float(row[1]) for row in rows_of(folder)[1:]]
    assert np.mean(losses[-4:]) < losses[0] - 0.5
    tokenizer = WordPieceTokenizer(folder / "vocab.txt")
    classifier = BertClassifier.from_pretrained(
        folder, num_classes=3, missing="new", surplus="ignore"
    )
    assert classifier(tokenizer.encode(["真的很满意"])).shape == (1, 3)
    model = BertMaskedLM.from_pretrained(folder)
    np.testing.assert_array_equal(
        np.asarray(model.backbone.embedding.token_embeddings),
        np.asarray(classifier.backbone.embedding.token_embeddings),
    )


def test_transformers_loads_the_folder(unbroken):
    transformers = pytest.importorskip("transformers")
    import torch

    folder, _ = unbroken
    theirs = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    tokenizer = WordPieceTokenizer(folder / "vocab.txt")
    ids = tokenizer.encode(["这家店[MASK]的很满意"])["token_ids"]
    ours = BertMaskedLM.from_pretrained(folder, dtype="float32")({"token_ids": ids})
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(np.asarray(ours), expected, atol=1e-4)


def test_broken_run_goes_on_bit_by_bit(recipe, arguments, unbroken, tmp_path, monkeypatch):
    run_group = Pretrainer._run_group

    def break_off(self):
        if self.step >= 16:
            raise RuntimeError("stands for a kill")
        run_group(self)

    # The trainer of vocabularies breaks ties by chance; within a run it is kept.
    vocabulary = ["--vocabulary", str(unbroken[0] / "vocab.txt")]
    command = [*arguments, *vocabulary, "--output-dir", str(tmp_path / "run")]
    monkeypatch.setattr(Pretrainer, "_run_group", break_off)
    with pytest.raises(RuntimeError, match="stands for a kill"):
        recipe.main(command)
    monkeypatch.undo()
    metrics = recipe.main([*command, "--resume"])
    assert rows_of(tmp_path / "run") == rows_of(unbroken[0])
    assert metrics["valid"] == unbroken[1]["valid"]


def test_pretrained_model_goes_on_with_another_corpus(recipe, unbroken, tmp_path, capsys):
    folder, _ = unbroken
    # The second document is longer than the 64 positions that the model has.
    text = "酒店的房间很干净。\n酒店的房间很干净。\n" + "服务员态度好，" * 20
    (tmp_path / "domain.txt").write_text(text, encoding="utf-8")
    options = ["--pretrained", str(folder), "--corpus", str(tmp_path / "domain.txt")]
    options += ["--steps", "2", "--length", "64", "--output-dir", str(tmp_path / "run")]
    again = recipe.main(options)
    assert "2 documents" in capsys.readouterr().out
    assert again["steps"] == 2
    assert (tmp_path / "run" / "vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()
    before = BertMaskedLM.from_pretrained(folder).get_weights()
    after = BertMaskedLM.from_pretrained(tmp_path / "run").get_weights()
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    assert max(np.abs(a - b).max() for a, b in zip(before, after, strict=True)) < 0.01


def test_packed_documents_are_seen_as_if_alone(unbroken):
    """The packed rows' losses are those of each document in a row of its own."""
    folder, _ = unbroken
    model = BertMaskedLM.from_pretrained(folder, dtype="float32")
    tokenizer = WordPieceTokenizer(folder / "vocab.txt")
    texts = ["很满意", "太让人失望了，再也不来"]
    encoded = [tokenizer.encode([text])["token_ids"][0] for text in texts]
    packed = {
        "token_ids": np.concatenate(encoded)[None],
        "position_ids": np.concatenate([np.arange(len(ids)) for ids in encoded])[None],
        "document_ids": np.repeat([0, 1], [len(ids) for ids in encoded])[None],
    }
    together = np.asarray(model({name: array.astype(np.int32) for name, array in packed.items()}))
    alone = [np.asarray(model({"token_ids": ids[None]}))[0] for ids in encoded]
    np.testing.assert_allclose(together[0], np.concatenate(alone), atol=2e-5)


def test_run_that_was_refused_does_not_block_its_folder(recipe, arguments, tmp_path):
    options = ["--steps", "2", "--vocabulary-size", "200", "--output-dir", str(tmp_path)]
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"typo.csv does not exist"):
        recipe.main([*arguments, "--valid", str(tmp_path / "typo.csv"), *options])
    metrics = recipe.main([*arguments, *options])
    assert metrics["steps"] == 2
    # Its own vocabulary, not what was left there.
    assert len(WordPieceTokenizer(tmp_path / "vocab.txt")) > 5
