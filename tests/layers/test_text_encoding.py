"""TextEncoding and its parts against TextPipeline."""

import keras
import pytest
import tensorflow as tf
from cleaning_texts import random_cleaning_texts
from jieba_checks import random_texts

from kerasllm import native
from kerasllm.layers import CharacterSegmentation, TextCleaning, TextEncoding
from kerasllm.text import (
    CharTokenizer,
    JiebaTokenizer,
    TextCleaner,
    TextPipeline,
    Vocabulary,
    WordPieceTokenizer,
)

pytestmark = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")

TEXTS = [
    "<p>我来到北京清华大学</p>，味道　很好！！",
    "",
    " \u200b ",
    "Keras 3.5 don't １２３ 👍🏽👨\u200d👩 3\ufe0f\u20e3 [UNK] [PAD]",
    "𠀀𪛖 e\u0301 \x01",
    "真的真的真的很好吃" * 50,
]
WORDS = ["来到北京", "清华大学", "味道"]


def all_texts():
    return [*TEXTS, *random_cleaning_texts(2000, 3), *random_texts(2000, WORDS, 4)]


@pytest.mark.parametrize("max_length", [None, 7])
@pytest.mark.parametrize("spell_unknown", [False, True])
@pytest.mark.parametrize(
    "tokenizer",
    [
        JiebaTokenizer(),
        JiebaTokenizer("search", hmm=False, user_dictionary=WORDS, keep_blanks=True),
        CharTokenizer(),
        CharTokenizer(keep_words=True, keep_blanks=True),
    ],
    ids=["jieba", "jieba-search", "char", "char-words"],
)
def test_ids_are_those_of_the_pipeline(tokenizer, spell_unknown, max_length):
    cleaner = TextCleaner(urls=True, repeats=3) if spell_unknown else None
    pipeline = TextPipeline.fit(
        all_texts()[::2],
        cleaner=cleaner,
        tokenizer=tokenizer,
        min_frequency=2,
        max_length=max_length,
        spell_unknown=spell_unknown,
    )
    texts = all_texts()
    # [PAD], which the vocabulary has, is 0 like padding.
    expected = [ids for ids in pipeline.encode(texts)]
    found = TextEncoding(pipeline)(tf.constant(texts)).numpy()
    assert found.shape == (len(texts), max(map(len, expected)))
    for text, row, ids in zip(texts, found.tolist(), expected, strict=True):
        assert row[: len(ids)] == ids, text
        assert not any(row[len(ids) :]), text


@pytest.mark.parametrize("keep_words", [False, True])
@pytest.mark.parametrize("keep_blanks", [False, True])
def test_characters_are_those_of_the_tokenizer(keep_words, keep_blanks):
    tokenizer = CharTokenizer(keep_words=keep_words, keep_blanks=keep_blanks)
    layer = CharacterSegmentation(keep_words, keep_blanks)
    texts = all_texts()
    found = [[token.decode() for token in tokens] for tokens in layer(texts).to_list()]
    assert found == tokenizer.segment(texts)


def test_offsets_of_characters_are_bytes():
    from kerasllm_ops.text_encoding import characters

    texts = [text.encode() for text in all_texts()]
    tokens, starts, ends = (part.to_list() for part in characters(tf.constant(texts)))
    for text, *columns in zip(texts, tokens, starts, ends, strict=True):
        for token, start, end in zip(*columns, strict=True):
            assert text[start:end] == token


def test_the_cleaning_layer_has_the_defaults_of_the_cleaner():
    layer = TextCleaning(repeats=2)
    clean = TextCleaner(repeats=2)
    assert [text.decode() for text in layer(TEXTS).numpy()] == [clean(text) for text in TEXTS]
    again = TextCleaning.from_config(layer.get_config())
    assert again.cleaner.get_config() == clean.get_config()


def test_vocabulary_file_with_every_escape(tmp_path):
    tokens = [" ", "\n", "\t", "\\", "a b", "", "\u200b", "\U000e0001", "中", "\ud800", "e\u0301"]
    pipeline = TextPipeline(
        TextCleaner(control=False, width=False),
        CharTokenizer(keep_blanks=True),
        Vocabulary(tokens),
    )
    texts = [token for token in tokens if token != "\ud800"] + ["a"]
    found = TextEncoding(pipeline)(texts).numpy()
    for row, ids in zip(found.tolist(), pipeline.encode(texts), strict=True):
        assert row[: len(ids)] == ids


def test_a_model_is_saved_loaded_and_exported(tmp_path):
    pipeline = TextPipeline.fit(TEXTS, labels=["a", "b"], max_length=9, spell_unknown=True)
    inputs = keras.Input((), dtype="string")
    model = keras.Model(inputs, TextEncoding(pipeline)(inputs))
    expected = model(tf.constant(TEXTS)).numpy().tolist()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.predict(tf.constant(TEXTS), verbose=0).tolist() == expected
    model.export(str(tmp_path / "exported"), verbose=False)
    assets = sorted(path.name for path in (tmp_path / "exported" / "assets").iterdir())
    assert assets == ["jieba.dictionary", "vocabulary.txt"]
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    assert loaded.serve(tf.constant(TEXTS)).numpy().tolist() == expected


def test_in_a_dataset():
    pipeline = TextPipeline.fit(TEXTS, tokenizer=CharTokenizer())
    encode = TextEncoding(pipeline)
    batches = tf.data.Dataset.from_tensor_slices(TEXTS).batch(2).map(encode)
    assert [len(batch) for batch in batches] == [2, 2, 2]


def test_other_tokenizers_and_cleaners_are_refused():
    pipeline = TextPipeline.fit(TEXTS, tokenizer=CharTokenizer())
    pipeline.cleaner = str.lower
    with pytest.raises(ValueError, match="the pipeline's cleaner is a method_descriptor"):
        TextEncoding(pipeline)
    pieces = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    with pytest.raises(ValueError, match="tokenizer is a WordPieceTokenizer"):
        TextEncoding(TextPipeline(None, pieces, Vocabulary([])))


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"Keras runs on jax\. Set KERAS_BACKEND=tensorflow"):
        TextCleaning()


def test_broken_vocabularies_and_splits_are_refused():
    from kerasllm_ops.loader import required_ops
    from kerasllm_ops.text_encoding import Vocabulary as OpVocabulary

    with pytest.raises(tf.errors.InvalidArgumentError, match="line 3 repeats an earlier token"):
        OpVocabulary(b"a\nb\na\n")
    vocabulary = OpVocabulary(b"[PAD]\n[UNK]\na\n")
    encode = required_ops("text_encoding").kerasllm_vocabulary_encode
    for splits in ([], [0], [0, 2], [1, 1], [0, 2, 1], [0, -1, 1]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="row_splits do not rise"):
            encode(vocabulary.resource_handle, ["a"], tf.constant(splits, tf.int64))
