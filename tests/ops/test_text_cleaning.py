"""The cleaning op against kerasllm.text.TextCleaner."""

import os
import unicodedata

import pytest
import tensorflow as tf
from cleaning_texts import random_cleaning_texts, random_switches

from kerasllm import native
from kerasllm.text import TextCleaner

pytestmark = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")

# How many random texts; more by hand.
COUNT = int(os.environ.get("KERASLLM_FUZZ_COUNT", "20000"))
SWITCHES = [name for name, value in TextCleaner().get_config().items() if isinstance(value, bool)]
OFF = dict.fromkeys(SWITCHES, False)


def cleaned(texts, **switches):
    from kerasllm_ops.text_cleaning import text_cleaning

    return [text.decode("utf-8") for text in text_cleaning(tf.constant(texts), **switches).numpy()]


def differences(texts, switches):
    clean = TextCleaner(**switches)
    found = cleaned(texts, **clean.get_config())
    return [
        (text, clean(text), got)
        for text, got in zip(texts, found, strict=True)
        if clean(text) != got
    ]


@pytest.mark.parametrize("seed", range(10))
def test_random_texts_are_cleaned_as_in_python(seed):
    switches = (
        {**dict.fromkeys(SWITCHES, True), "repeats": 2} if seed == 0 else random_switches(seed)
    )
    texts = random_cleaning_texts(COUNT // 20, seed)
    assert not differences(texts, switches), switches


@pytest.mark.parametrize("name", SWITCHES)
def test_each_step_alone(name):
    assert not differences(random_cleaning_texts(COUNT // 20, 100), {**OFF, name: True})


def test_repeats_alone():
    for limit in (1, 3):
        texts = random_cleaning_texts(COUNT // 40, 200 + limit)
        assert not differences(texts, {**OFF, "repeats": limit})


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="another Unicode than the ops'")
def test_every_character():
    codes = [code for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    texts = [f"a{chr(code)}b@{chr(code) * 4}1{chr(code)}\ufe0f" for code in codes]
    assert not differences(texts, {**dict.fromkeys(SWITCHES, True), "repeats": 2})
    assert not differences([chr(code) for code in codes], {})


def test_bytes_that_are_no_utf8_become_replacement_characters():
    texts = [b"a\xff\xe4\xb8z", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"", b"\x00"]
    assert cleaned(texts) == [text.decode("utf-8", "replace") for text in texts]


def test_any_shape():
    from kerasllm_ops.text_cleaning import text_cleaning

    texts = tf.constant([["<b>好</b>", ""], ["１", "a"]])
    found = tf.function(lambda x: text_cleaning(x, html=True, width=True))(texts)
    assert found.shape == (2, 2)
    assert [t.decode() for t in found.numpy().ravel()] == ["好", "", "1", "a"]
    ragged = tf.ragged.constant([["<b>"], []])
    assert text_cleaning(ragged, html=True).to_list() == [[b""], []]
    assert text_cleaning(tf.zeros((0,), tf.string)).shape == (0,)


def test_long_texts_and_many_threads():
    texts = ["<b>哈１</b>&amp;" * 20_000, *random_cleaning_texts(2000, 5)]
    assert not differences(texts, {"html": True, "width": True, "repeats": 1})
