"""Word vectors from files written here in word2vec's and GloVe's text formats."""

import gzip

import numpy as np
import pytest

from kerasllm.text import Vocabulary
from kerasllm.text.word_vectors import read_word_vectors

LINES = ["味道 0.5 -1.0 2", "很好 1e-2 0 3.25", "酒店 7 8 9"]


@pytest.fixture
def vocabulary():
    return Vocabulary(["很好", "味道", "从未见过"])


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def check(embeddings, found, vocabulary):
    assert found == 2
    assert embeddings.shape == (5, 3) and embeddings.dtype == np.float32
    ids = vocabulary.encode(["味道", "很好"])
    np.testing.assert_array_equal(embeddings[ids[0]], np.float32([0.5, -1.0, 2]))
    np.testing.assert_array_equal(embeddings[ids[1]], np.float32([1e-2, 0, 3.25]))
    np.testing.assert_array_equal(embeddings[vocabulary.pad_id], np.zeros(3))
    assert np.any(embeddings[vocabulary.encode(["从未见过"])[0]])


def test_glove_has_no_header(tmp_path, vocabulary):
    check(*read_word_vectors(write(tmp_path / "a.txt", LINES), vocabulary), vocabulary)


def test_word2vec_has_one_and_trailing_blanks(tmp_path, vocabulary):
    lines = ["3 3", *(f"{line} " for line in LINES)]
    check(*read_word_vectors(write(tmp_path / "a.txt", lines), vocabulary), vocabulary)


def test_gzip(tmp_path, vocabulary):
    with gzip.open(tmp_path / "a.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(LINES))
    check(*read_word_vectors(tmp_path / "a.txt.gz", vocabulary), vocabulary)


def test_missing_words_are_random_by_the_seed_alone(tmp_path, vocabulary):
    path = write(tmp_path / "a.txt", LINES)
    first, same, other = (read_word_vectors(path, vocabulary, seed=s)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([*LINES, "短 1 2"], "line 4: 2 numbers, but 3"),
        (["味道 1 x 3"], "line 1: could not convert"),
        (["chat 1 2 3"], "has none of the 5 words"),
    ],
)
def test_bad_files_are_a_sentence(tmp_path, vocabulary, lines, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_word_vectors(write(tmp_path / "a.txt", lines), vocabulary)


def test_a_missing_file(tmp_path, vocabulary):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_word_vectors(tmp_path / "a.txt", vocabulary)
