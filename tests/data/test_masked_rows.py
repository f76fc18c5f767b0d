"""Masked rows: whole words, the right shares, another choice each time, the same for a row."""

import numpy as np
import pytest

from kerasllm.data import (
    Corpus,
    MaskedLanguageModelEncoder,
    MaskedLanguageModelRows,
    tokenize_corpus,
)
from kerasllm.text import JiebaTokenizer, WordPieceTokenizer

TEXTS = [
    "我来到北京清华大学读书",
    "中国人民银行今天宣布下调存款准备金率",
    "Keras很好用，我们用它训练语言模型！",
    "上海证券交易所的股票今天大涨 3.5%",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def tokenizer():
    characters = sorted({character for text in TEXTS for character in text.lower()} - {" "})
    return WordPieceTokenizer([*SPECIAL, *characters, "##as", "ker"])


@pytest.fixture(scope="module")
def cache(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(TEXTS * 3), encoding="utf-8")
    corpus = Corpus(path, deduplicate=False)
    return tokenize_corpus(corpus, MaskedLanguageModelEncoder(tokenizer, 64))


def test_documents_become_what_the_tokenizer_encodes(cache, tokenizer):
    for number, text in enumerate(TEXTS):
        begin, end = cache.document_starts[number : number + 2]
        expected = tokenizer.encode([text])["token_ids"][0]
        np.testing.assert_array_equal(cache.token_ids[begin:end], expected)


def test_words_begin_where_jieba_begins_them(cache, tokenizer):
    words = JiebaTokenizer().segment(TEXTS)
    for number in range(len(TEXTS)):
        begin, end = cache.document_starts[number : number + 2]
        marks = cache.arrays["word_marks"][begin + 1 : end - 1]
        pieces = [tokenizer.tokens[token] for token in cache.token_ids[begin + 1 : end - 1]]
        found = []
        for piece, mark in zip(pieces, marks, strict=True):
            if mark:
                found.append("")
            found[-1] += piece.removeprefix("##")
        assert found == [word.lower() for word in words[number]]
        assert cache.arrays["word_marks"][begin] == cache.arrays["word_marks"][end - 1] == 2


def test_long_documents_are_cut_into_several(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text(TEXTS[1], encoding="utf-8")
    cache = tokenize_corpus(Corpus(tmp_path), MaskedLanguageModelEncoder(tokenizer, 10))
    assert np.diff(cache.document_starts).tolist() == [10, 10, 4]
    assert cache.token_ids[[0, 9, 10, 19, 20, 23]].tolist() == [2, 3] * 3


def originals(rows, first, count):
    places, _ = rows.packed.places(first, count)
    return rows.token_ids[places], rows.word_marks[places]


def test_labels_are_the_tokens_that_were_there(cache, tokenizer):
    rows = MaskedLanguageModelRows(cache, tokenizer, length=40, seed=5)
    inputs = rows(0, 200)
    before, marks = originals(rows, 0, 200)
    counts = inputs["labels"] != -100
    at = np.take_along_axis(before, inputs["mask_positions"], axis=1)
    np.testing.assert_array_equal(inputs["labels"][counts], at[counts])
    assert (np.take_along_axis(marks, inputs["mask_positions"], axis=1)[counts] != 2).all()
    changed = inputs["token_ids"] != before
    for row in range(200):
        guessed = inputs["mask_positions"][row][counts[row]]
        assert len(set(guessed)) == len(guessed) > 0
        assert set(np.flatnonzero(changed[row])) <= set(guessed)


def test_positions_are_those_in_the_document(cache, tokenizer):
    rows = MaskedLanguageModelRows(cache, tokenizer, length=40, seed=5)
    inputs = rows(0, 50)
    before, _ = originals(rows, 0, 50)
    np.testing.assert_array_equal(before == 2, inputs["position_ids"] == 0)
    inside = np.diff(inputs["document_ids"], axis=1) == 0
    np.testing.assert_array_equal(np.diff(inputs["position_ids"], axis=1)[inside], 1)


def test_words_are_guessed_whole(cache, tokenizer):
    rows = MaskedLanguageModelRows(cache, tokenizer, length=40, seed=5)
    inputs = rows(0, 200)
    _, marks = originals(rows, 0, 200)
    whole = 0
    for row in range(200):
        counts = inputs["labels"][row] != -100
        guessed = np.zeros(40, bool)
        guessed[inputs["mask_positions"][row][counts]] = True
        inside = marks[row] == 0
        inside[0] = False  # of a word that began in the row before
        pairs = guessed[1:][inside[1:]] != guessed[:-1][inside[1:]]
        same_document = np.diff(inputs["document_ids"][row])[inside[1:]] == 0
        if (pairs & same_document).any():
            # Only a word that is longer than all that may be guessed, and then it alone.
            word = np.cumsum(marks[row] != 0)
            assert len(set(word[guessed])) == 1
        else:
            whole += 1
    assert whole > 180


def test_shares_are_those_of_bert(cache, tokenizer):
    rows = MaskedLanguageModelRows(cache, tokenizer, length=128, seed=5)
    inputs = rows(0, 2000)
    _, marks = originals(rows, 0, 2000)
    counts = inputs["labels"] != -100
    assert 0.13 < counts.sum() / (marks != 2).sum() <= 0.16
    after = np.take_along_axis(inputs["token_ids"], inputs["mask_positions"], axis=1)[counts]
    labels = inputs["labels"][counts]
    assert np.mean(after == 4) == pytest.approx(0.8, abs=0.01)
    same = np.mean(after == labels)
    ordinary = len(tokenizer) - 5
    assert same == pytest.approx(0.1 + 0.1 / ordinary, abs=0.01)
    others = after[(after != 4) & (after != labels)]
    assert others.min() >= 5 and len(set(others)) > 0.9 * ordinary
    # Words are chosen evenly, wherever they stand.
    places = np.bincount(inputs["mask_positions"][counts], minlength=128)
    assert places.min() > 0.6 * places.mean()


def test_masks_are_drawn_anew_each_epoch_and_are_the_same_for_a_row(cache, tokenizer):
    rows = MaskedLanguageModelRows(cache, tokenizer, length=40, seed=5)
    whole = rows(0, 30)
    again = MaskedLanguageModelRows(cache, tokenizer, length=40, seed=5)
    parts = [again(first, count) for first, count in ((0, 3), (3, 1), (4, 26))]
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)
    other = MaskedLanguageModelRows(cache, tokenizer, length=40, seed=6)(0, 30)
    assert (other["mask_positions"] != whole["mask_positions"]).any()
    masks = {tuple(positions) for positions in whole["mask_positions"]}
    assert len(masks) > 25
