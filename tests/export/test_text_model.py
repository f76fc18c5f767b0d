"""save_text_model and load_text_model: the same probabilities as Keras, elsewhere and portable."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from processes import run_python
from small_classifier import LABELS, TEXTS, make_classifier

from kerasllm import export, native
from kerasllm.export.load import op_names
from kerasllm.layers import TransformerEncoderBlock
from kerasllm.models import TransformerClassifier
from kerasllm.text import JiebaTokenizer, TextPipeline, WordPieceTokenizer

needs_library = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
MORE_TEXTS = [*TEXTS, "<b>ＡＢＣ</b>&nbsp;　味道", "\u200b", "很" * 300, "上菜慢\ud800"]


@pytest.fixture(scope="module")
def classifier():
    return make_classifier()


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    classifier.export(folder)
    return folder


@needs_library
def test_probabilities_are_those_of_keras(classifier, exported):
    model = export.load_text_model(exported)
    assert model.labels == LABELS
    expected = classifier.probabilities(MORE_TEXTS)
    np.testing.assert_allclose(model.probabilities(MORE_TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(model.probabilities(MORE_TEXTS, 3), expected, atol=1e-6)
    assert [label for label, _ in model.predict(MORE_TEXTS)] == [
        label for label, _ in classifier.predict(MORE_TEXTS)
    ]
    outputs = model(MORE_TEXTS)
    assert {name: (value.dtype, value.shape) for name, value in outputs.items()} == {
        "label": (np.dtype(object), (12,)),
        "probability": (np.dtype("float32"), (12,)),
        "probabilities": (np.dtype("float32"), (12, 3)),
        "id": (np.dtype("int32"), (12,)),
    }
    assert [LABELS[i] for i in outputs["id"]] == [label.decode() for label in outputs["label"]]
    np.testing.assert_array_equal(outputs["probability"], outputs["probabilities"].max(-1))


@needs_library
def test_no_texts_and_no_single_text(exported):
    model = export.load_text_model(exported)
    assert model.predict([]) == []
    assert model([])["label"].shape == (0,)
    with pytest.raises(TypeError, match="single str"):
        model("好")


@needs_library
def test_the_kernels_stay_ours_and_the_assets_are_there(exported):
    ops = op_names(exported / "saved_model.pb")
    assert {"KerasllmTextCleaning", "KerasllmVocabularyEncode", "KerasllmLstm"} <= ops
    assets = sorted(path.name for path in (exported / "assets").iterdir())
    assert assets == ["text_model.json", "text_pipeline.json", "vocabulary.txt"]
    assert json.loads((exported / "assets" / "text_model.json").read_bytes())["labels"] == LABELS


@needs_library
def test_a_process_with_only_the_op_library_serves_texts(classifier, exported, tmp_path):
    code = """
import sys, json, kerasllm_ops
assert kerasllm_ops.load().ops is not None
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
assert not {"kerasllm", "jieba"} & set(sys.modules)
texts = json.loads(open(sys.argv[2]).read())
found = serve(texts=tf.constant(texts))["probabilities"].numpy()
open(sys.argv[2], "w").write(json.dumps(found.tolist()))
"""
    file = tmp_path / "texts.json"
    file.write_text(json.dumps(TEXTS))
    run_python("-c", code, exported, file)
    found = json.loads(file.read_text())
    np.testing.assert_allclose(found, classifier.probabilities(TEXTS), atol=1e-6)


@needs_library
def test_without_the_library_the_error_says_so_in_a_sentence(exported):
    code = "import sys, kerasllm; kerasllm.export.load_text_model(sys.argv[1])"
    done = run_python("-c", code, exported, status=1, KERASLLM_NATIVE="0")
    assert (
        "cannot be loaded here: it needs the ops of kerasllm, but KERASLLM_NATIVE=0" in done.stderr
    )


def test_a_portable_model_has_stock_ops_only(classifier, tmp_path):
    classifier.export(tmp_path / "model", portable=True)
    assert not [op for op in op_names(tmp_path / "model" / "saved_model.pb") if "erasllm" in op]
    model = export.load_text_model(tmp_path / "model")
    expected = classifier.probabilities(MORE_TEXTS)
    np.testing.assert_allclose(model.probabilities(MORE_TEXTS), expected, atol=1e-5)
    # In a process that knows nothing of kerasllm.
    ids = classifier.pipeline.encode(TEXTS[:1])
    code = """
import sys, tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
print(serve(token_ids=tf.constant(eval(sys.argv[2])))["label"].numpy()[0].decode())
"""
    done = run_python("-c", code, tmp_path / "model", ids)
    assert done.stdout.strip() == classifier.predict(TEXTS[:1])[0][0]


@pytest.mark.parametrize("portable", [pytest.param(False, marks=needs_library), True])
def test_a_transformer_on_jieba_words(portable, tmp_path):
    pipeline = TextPipeline.fit(TEXTS, tokenizer=JiebaTokenizer(), spell_unknown=True, max_length=9)
    keras.utils.set_random_seed(1)
    model = TransformerClassifier(
        len(pipeline.vocabulary), 2, max_length=16, num_layers=1, model_dim=16, num_heads=2
    )
    expected = keras.ops.softmax(
        model(tf.ragged.constant(pipeline.encode(MORE_TEXTS)).to_tensor())
    ).numpy()
    export.save_text_model(model, pipeline, ["坏", "好"], tmp_path / "model", portable=portable)
    ops = op_names(tmp_path / "model" / "saved_model.pb")
    assert ("KerasllmAttention" in ops) != portable
    assert any(op.startswith("Kerasllm") for op in ops) != portable
    found = export.load_text_model(tmp_path / "model").probabilities(MORE_TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("portable", [pytest.param(False, marks=needs_library), True])
def test_a_model_of_pieces_takes_a_dict(portable, tmp_path):
    characters = sorted(set("".join(TEXTS)) - {" "})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    tokenizer = WordPieceTokenizer(tokens)
    keras.utils.set_random_seed(2)
    inputs = {
        "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
        "segment_ids": keras.Input((None,), dtype="int32", name="segment_ids"),
        "padding_mask": keras.Input((None,), dtype="bool", name="padding_mask"),
    }
    x = keras.layers.Embedding(len(tokens), 8)(inputs["token_ids"])
    x = x + keras.layers.Embedding(2, 8)(inputs["segment_ids"])
    x = TransformerEncoderBlock(2, 16)(x, mask=inputs["padding_mask"])
    x = keras.layers.Dense(2, activation="softmax")(x[:, 0])
    model = keras.Model(inputs, x)
    arguments = {"portable": portable, "max_length": 12, "from_logits": False}
    export.save_text_model(model, tokenizer, ["a", "b"], tmp_path / "model", **arguments)
    encoded = tokenizer.encode(MORE_TEXTS, max_length=12)
    expected = model({name: tf.constant(value) for name, value in encoded.items()})
    found = export.load_text_model(tmp_path / "model").probabilities(MORE_TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_is_wrong_is_said(classifier, tmp_path):
    model, pipeline = classifier.model, classifier.pipeline
    with pytest.raises(ValueError, match="has 3 classes, but labels= has 2"):
        export.save_text_model(model, pipeline, ["a", "b"], tmp_path / "model")
    with pytest.raises(TypeError, match="but is a JiebaTokenizer"):
        export.save_text_model(model, JiebaTokenizer(), LABELS, tmp_path / "model")
    with pytest.raises(ValueError, match="has its own max_length"):
        export.save_text_model(model, pipeline, LABELS, tmp_path / "model", max_length=3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match=r"holds no saved_model\.pb"):
        classifier.export(tmp_path / "mine", portable=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    with pytest.raises(FileNotFoundError, match="holds no SavedModel"):
        export.load_text_model(tmp_path / "mine")


def test_a_model_is_replaced_and_a_broken_one_named(classifier, tmp_path):
    folder = tmp_path / "model"
    for _ in range(2):
        classifier.export(folder, portable=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (folder / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(ValueError, match="is broken, it is no SavedModel"):
        export.load_text_model(folder)
    (folder / "assets" / "text_model.json").write_text("{}")
    with pytest.raises(ValueError, match='lacks "format"'):
        export.load_text_model(folder)
    (folder / "assets" / "text_model.json").unlink()
    with pytest.raises(ValueError, match="was not written by"):
        export.load_text_model(folder)
