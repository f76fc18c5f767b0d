"""The layer that makes a BERT's input from texts inside a model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasllm_ops.loader import load
from wordpiece_texts import SPECIAL

import kerasllm
from kerasllm.layers import WordPieceEncoding
from kerasllm.text import WordPieceTokenizer

if load().ops is None:
    pytest.skip("no native library", allow_module_level=True)

TOKENIZER = WordPieceTokenizer([*SPECIAL, "我", "爱", "ker", "##as", "!"], strip_accents=False)
TEXTS = ["我爱Keras!", "", "爱"]


def make_model(**arguments):
    texts = keras.Input((), dtype="string")
    encoded = WordPieceEncoding(TOKENIZER, **arguments)(texts)
    embedded = keras.layers.Embedding(len(TOKENIZER), 4)(encoded["token_ids"])
    outputs = keras.layers.GlobalAveragePooling1D()(embedded, mask=encoded["padding_mask"])
    return keras.Model(texts, outputs)


def test_a_layer_gives_what_the_tokenizer_gives():
    expected = TOKENIZER.encode(TEXTS, TEXTS, max_length=6)
    layer = WordPieceEncoding(TOKENIZER, max_length=6)
    columns = tf.constant(TEXTS)[:, None]
    for texts in (TEXTS, np.array(TEXTS), tf.constant(TEXTS), columns):
        found = layer(texts, texts)
        assert list(found) == list(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)


def test_shapes_of_a_symbolic_call():
    texts = keras.Input((), dtype="string")
    outputs = WordPieceEncoding(TOKENIZER, max_length=8, padding="max_length")(texts)
    assert {name: (t.shape, t.dtype) for name, t in outputs.items()} == {
        "token_ids": ((None, 8), "int32"),
        "segment_ids": ((None, 8), "int32"),
        "padding_mask": ((None, 8), "bool"),
    }


def test_a_model_on_texts_trains_and_is_saved(tmp_path):
    model = make_model(max_length=16)
    model.compile("sgd", "mse")
    texts = tf.constant(TEXTS)
    model.fit(texts, np.zeros((3, 4)), verbose=0)
    expected = model.predict(texts, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(texts, verbose=0), expected)
    model.export(str(tmp_path / "exported"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(served.serve(texts), expected, rtol=1e-6)
    assert (tmp_path / "exported" / "assets" / "vocab.txt").is_file()


def test_config_round_trip():
    layer = WordPieceEncoding(TOKENIZER, max_length=5, truncation="only_first", name="encode")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    assert again.tokenizer.get_config() == TOKENIZER.get_config()


@pytest.mark.parametrize("arguments", [{"max_length": 0}, {"padding": "max_length"}])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="max_length"):
        kerasllm.layers.WordPieceEncoding(TOKENIZER, **arguments)


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="needs the TensorFlow backend, but Keras runs on jax"):
        WordPieceEncoding(TOKENIZER)
