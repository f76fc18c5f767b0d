"""JiebaSegmentation against JiebaTokenizer, alone, in models and saved."""

import gc

import keras
import pytest
import tensorflow as tf
from jieba_checks import WAYS, random_texts
from processes import run_python

from kerasllm import native
from kerasllm.layers import JiebaSegmentation
from kerasllm.text import JiebaTokenizer

pytestmark = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")

USER_WORDS = ["来到北京", ("清华", 10), ("大学", 0, "n")]
TEXTS = ["我来到北京清华大学", "", "iPhone 15 Pro降价100元 ", "差" * 12_000]


def decoded(ragged):
    return [[word.decode("utf-8") for word in words] for words in ragged.to_list()]


@pytest.mark.parametrize("keep_blanks", [True, False])
@pytest.mark.parametrize(("mode", "hmm"), WAYS)
def test_words_are_those_of_the_tokenizer(mode, hmm, keep_blanks):
    arguments = mode, hmm, USER_WORDS, keep_blanks
    texts = [*TEXTS, *random_texts(500, ["来到北京", "清华大学"], 2)]
    found = decoded(JiebaSegmentation(*arguments)(tf.constant(texts)))
    assert found == JiebaTokenizer(*arguments).segment(texts)


def model():
    inputs = keras.Input((), dtype="string")
    return keras.Model(inputs, JiebaSegmentation(user_dictionary=USER_WORDS)(inputs))


def test_a_model_is_saved_and_loaded(tmp_path):
    expected = JiebaTokenizer(user_dictionary=USER_WORDS).segment(TEXTS)
    original = model()
    assert decoded(original(tf.constant(TEXTS))) == expected
    original.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[-1].get_config() == original.layers[-1].get_config()
    assert decoded(again.predict(tf.constant(TEXTS), verbose=0)) == expected


def test_a_model_is_exported_with_its_dictionary(tmp_path):
    model().export(str(tmp_path), verbose=False)
    assert len(list((tmp_path / "assets").iterdir())) == 1
    loaded = tf.saved_model.load(str(tmp_path))
    expected = JiebaTokenizer(user_dictionary=USER_WORDS).segment(TEXTS)
    assert decoded(loaded.serve(tf.constant(TEXTS))) == expected


def test_a_signature_outlives_the_model_that_was_loaded(tmp_path):
    # The dictionary went with the object, and the signature with "Resource does not exist".
    model().export(str(tmp_path), verbose=False)
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    gc.collect()
    (found,) = serve(tf.constant(TEXTS)).values()
    assert decoded(found) == JiebaTokenizer(user_dictionary=USER_WORDS).segment(TEXTS)


def test_the_dictionary_goes_with_its_layer():
    layer = JiebaSegmentation()
    handle = layer._dictionary.resource_handle
    del layer
    gc.collect()
    with pytest.raises(tf.errors.NotFoundError):
        tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=False)


def test_the_dictionary_goes_while_a_graph_is_built():
    # As a SavedModel was written, whatever garbage was left of another layer met its tf.Graph:
    # "Attempting to capture an EagerTensor without building a function".
    layer = JiebaSegmentation()
    handle = layer._dictionary.resource_handle
    with tf.Graph().as_default():
        del layer
        gc.collect()
    with pytest.raises(tf.errors.NotFoundError):
        tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=False)


def test_words_can_be_looked_up_inside_the_model():
    inputs = keras.Input((), dtype="string")
    lookup = keras.layers.StringLookup(vocabulary=["我", "北京", "清华大学"])
    words = JiebaSegmentation()(inputs)
    outputs = keras.layers.Lambda(lambda ids: lookup(ids).to_tensor(), output_shape=(None,))(words)
    assert keras.Model(inputs, outputs)(tf.constant(TEXTS[:2])).numpy().tolist() == [
        [1, 0, 2, 3],
        [0, 0, 0, 0],
    ]


def test_the_mode_is_checked():
    with pytest.raises(ValueError, match="mode='full'"):
        JiebaSegmentation("full")


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"Keras runs on jax\. Set KERAS_BACKEND=tensorflow"):
        JiebaSegmentation()


def test_without_the_native_library_the_error_says_why():
    code = "import kerasllm; kerasllm.layers.JiebaSegmentation()"
    done = run_python("-c", code, status=1, TF_CPP_MIN_LOG_LEVEL="3", KERASLLM_NATIVE="0")
    assert "RuntimeError" in done.stderr
    assert "KERASLLM_NATIVE=0 switches the native library off" in done.stderr
