"""A fine-tuned BERT with its WordPiecePipeline as a SavedModel that takes texts."""

import json

import keras
import numpy as np
import pytest
from processes import run_python
from small_classifier import LABELS, TEXTS

from kerasllm import TextClassifier, export, native
from kerasllm.export.load import op_names
from kerasllm.models import BertBackbone, BertClassifier, BertMaskedLM, load_tokenizer
from kerasllm.text import TextCleaner, WordPiecePipeline, WordPieceTokenizer

needs_library = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
MAX_LENGTH = 12
MORE_TEXTS = [
    *TEXTS,
    "很好" * 300,
    "店" * (MAX_LENGTH - 2),
    "店" * (MAX_LENGTH - 1),
    "👍🏽好👨‍👩‍👧",
    "<b>ＡＢＣ</b>&nbsp;　味道\x00",
    "\u200b \n",
    "电话13812345678，服务好",
]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """As the recipe makes it: a folder of a masked language model, and a new head on it."""
    folder = tmp_path_factory.mktemp("pretrained") / "tiny"
    characters = sorted(set("".join(TEXTS)) - {" "})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, "a", "##b", "##c"]
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "max_length": 16}
    BertMaskedLM(BertBackbone(len(tokens), **sizes)).save_pretrained(
        folder, WordPieceTokenizer(tokens)
    )
    model = BertClassifier.from_pretrained(folder, num_classes=3, missing="new", surplus="ignore")
    random = np.random.default_rng(4)
    for weight in model.weights:
        weight.assign(weight + random.normal(0, 1.0, weight.shape))  # probabilities that differ
    cleaner = TextCleaner(mask_phones=True)
    pipeline = WordPiecePipeline(load_tokenizer(folder), LABELS, MAX_LENGTH, cleaner)
    classifier = TextClassifier(model, pipeline)
    bias = model.weights[-1]  # no class is the likeliest of all texts
    bias.assign(bias - np.log(classifier.probabilities(MORE_TEXTS)).mean(axis=0))
    return classifier


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    classifier.export(folder)
    return folder


def expect_the_same(found, classifier):
    expected = classifier.probabilities(MORE_TEXTS)
    assert np.ptp(expected, axis=0).min() > 0.05  # so that texts mixed up would show
    assert len(set(expected.argmax(-1))) > 1
    np.testing.assert_allclose(found, expected, atol=1e-6)


@needs_library
def test_a_process_with_only_the_op_library_gives_the_labels_and_probabilities_of_keras(
    classifier, exported, tmp_path
):
    code = """
import sys, json, kerasllm_ops
assert kerasllm_ops.load().ops is not None
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
assert "kerasllm" not in sys.modules
texts = json.loads(open(sys.argv[2]).read())
found = serve(texts=tf.constant(texts))
alone = [serve(texts=tf.constant([text]))["probabilities"].numpy()[0].tolist() for text in texts]
labels = [label.decode() for label in found["label"].numpy()]
open(sys.argv[2], "w").write(json.dumps([labels, found["probabilities"].numpy().tolist(), alone]))
"""
    file = tmp_path / "texts.json"
    file.write_text(json.dumps(MORE_TEXTS))
    run_python("-c", code, exported, file)
    labels, probabilities, alone = json.loads(file.read_text())
    assert labels == [label for label, _ in classifier.predict(MORE_TEXTS)]
    expect_the_same(probabilities, classifier)
    expect_the_same(alone, classifier)


@needs_library
def test_cleaning_and_cutting_into_pieces_are_inside(classifier, exported):
    ops = op_names(exported / "saved_model.pb")
    assert {"KerasllmTextCleaning", "KerasllmWordpieceEncode", "KerasllmAttention"} <= ops
    model = export.load_text_model(exported)
    assert model.labels == LABELS
    expect_the_same(model.probabilities(MORE_TEXTS, batch_size=4), classifier)
    assert model.predict([]) == []


def test_a_portable_one_has_stock_ops_only(classifier, tmp_path):
    """Loading one once failed, as it knew no WordPiecePipeline."""
    classifier.export(tmp_path / "model", portable=True)
    assert not [op for op in op_names(tmp_path / "model" / "saved_model.pb") if "erasllm" in op]
    model = export.load_text_model(tmp_path / "model")
    assert model.labels == LABELS
    np.testing.assert_allclose(
        model.probabilities(MORE_TEXTS), classifier.probabilities(MORE_TEXTS), atol=1e-5
    )


def test_a_pipeline_keeps_its_own_max_length(classifier, tmp_path):
    model, pipeline = classifier.model, classifier.pipeline
    with pytest.raises(ValueError, match="has its own max_length"):
        export.save_text_model(model, pipeline, LABELS, tmp_path / "model", max_length=3)
    assert not (tmp_path / "model").exists()
