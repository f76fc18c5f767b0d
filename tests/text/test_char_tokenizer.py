"""CharTokenizer."""

import csv
import json
import random
import sys

import pytest

from kerasllm.text import CharTokenizer


def test_plain_text_is_cut_like_list():
    text = "我爱Keras，3.14！"
    assert CharTokenizer().segment([text, ""]) == [list(text), []]


@pytest.mark.parametrize(
    "emoji",
    ["👨‍👩‍👧‍👦", "❤️", "❤️‍🔥", "👩🏽‍⚕️", "1️⃣", "#️⃣", "🏳️‍🌈", "👍🏽", "🇨🇳"],
    ids=ascii,
)
@pytest.mark.parametrize("keep_words", [True, False])
def test_an_emoji_sequence_is_one_token(emoji, keep_words):
    tokenizer = CharTokenizer(keep_words=keep_words)
    assert tokenizer.segment([f"好{emoji}{emoji}字"]) == [["好", emoji, emoji, "字"]]


def test_a_letter_with_a_combining_accent_is_one_token():
    assert CharTokenizer().segment(["cafe\u0301s"]) == [["c", "a", "f", "e\u0301", "s"]]
    assert CharTokenizer(keep_words=True).segment(["cafe\u0301s"]) == [["cafe\u0301s"]]


def test_flags_are_cut_in_pairs():
    assert CharTokenizer().segment(["🇨🇳🇯🇵"]) == [["🇨🇳", "🇯🇵"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("买iPhone15和C3", ["买", "iPhone15", "和", "C3"]),
        ("涨3.14%到1.5.", ["涨", "3.14", "%", "到", "1.5", "."]),
        ("don't stop", ["don't", "stop"]),
        ("café au lait", ["café", "au", "lait"]),
        ("a.b 'c'", ["a", ".", "b", "'", "c", "'"]),
    ],
)
def test_keep_words_keeps_latin_words_and_numbers_whole(text, expected):
    assert CharTokenizer(keep_words=True).segment([text]) == [expected]


def test_blanks_are_dropped_unless_kept():
    text = "好 的\u3000\n"
    assert CharTokenizer().segment([text]) == [["好", "的"]]
    assert CharTokenizer(keep_blanks=True).segment([text]) == [list(text)]


@pytest.mark.parametrize("keep_words", [True, False])
def test_any_text_comes_back_when_blanks_are_kept(keep_words):
    tokenizer = CharTokenizer(keep_words=keep_words, keep_blanks=True)
    source = random.Random(0)
    for _ in range(500):
        text = "".join(chr(source.randrange(sys.maxunicode + 1)) for _ in range(20))
        text += "".join(source.choices("aé1.' \n好👍\u200d🏽\ufe0f🇨", k=20))
        [tokens] = tokenizer.segment([text])
        assert tokenizer.detokenize(tokens) == text
        assert all(tokens)


def test_emoji_table_gives_tokens_for_every_row(shared_data):
    with open(shared_data / "hard" / "13_emoji.csv", encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    tokens = CharTokenizer().segment(texts)
    assert tokens[1] == ["👍🏽"] * 3
    assert tokens[2][0] == "👨‍👩‍👧‍👦"
    assert tokens[7] == ["☹"]


def test_detokenize_follows_keep_words():
    assert CharTokenizer().detokenize(["好", "a", "b"]) == "好ab"
    assert CharTokenizer(keep_words=True).detokenize(["好", "a", "b"]) == "好a b"


def test_config_round_trip():
    tokenizer = CharTokenizer(keep_words=True, keep_blanks=True)
    config = json.loads(json.dumps(tokenizer.get_config()))
    assert config == {"keep_words": True, "keep_blanks": True}
    assert CharTokenizer.from_config(config).segment(["a b"]) == [["a", " ", "b"]]


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="keep_words='no'"):
        CharTokenizer(keep_words="no")
    with pytest.raises(TypeError, match="single str"):
        CharTokenizer().segment("一个文本")
