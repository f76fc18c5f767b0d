"""The review set in the package: complete, even, and no text in two parts."""

import collections
import unicodedata

import pytest

from kerasllm.data import read_table
from kerasllm.datasets import reviews

ROWS = {"train": 540, "valid": 90, "test": 120}


@pytest.fixture(scope="module")
def tables():
    """dict of part to rows, with the column `domain` joined in."""
    tables = {}
    for part, path in reviews().items():
        rows, report = read_table(path)
        domains, _ = read_table(path, label="domain")
        assert report.dropped == [] and report.conflicting == []
        assert (rows["text"] == domains["text"]).all()
        tables[part] = rows.assign(domain=domains["label"])
    return tables


def test_parts_have_750_rows(tables):
    assert {part: len(rows) for part, rows in tables.items()} == ROWS
    assert sum(ROWS.values()) == 750


def test_classes_and_domains_are_even_in_every_part(tables):
    for part, rows in tables.items():
        labels = collections.Counter(rows["label"])
        assert labels == dict.fromkeys(["positive", "negative", "neutral"], ROWS[part] // 3)
        domains = collections.Counter(rows["domain"])
        expected = dict.fromkeys(["hotel", "meal", "phone", "book", "film"], ROWS[part] // 5)
        assert domains == expected
        cells = collections.Counter(zip(rows["label"], rows["domain"], strict=True))
        assert set(cells.values()) == {ROWS[part] // 15}


def test_no_text_is_there_twice_after_normalising(tables):
    """Width, case, and all that is neither letter nor digit taken away."""
    seen = {}
    for part, rows in tables.items():
        for text, line in zip(rows["text"], rows["line"], strict=True):
            folded = unicodedata.normalize("NFKC", text).casefold()
            key = "".join(character for character in folded if character.isalnum())
            assert key, f"{part}, line {line}: {text!r}"
            assert key not in seen, f"{part}, line {line} is the same as {seen[key]}: {text}"
            seen[key] = f"{part}, line {line}"
    assert len(seen) == 750


def test_texts_are_chinese_and_short(tables):
    for rows in tables.values():
        for text in rows["text"]:
            assert text == text.strip()
            assert 2 <= len(text) <= 200
            assert any("\u4e00" <= character <= "\u9fff" for character in text), text


def test_labels_do_not_come_in_runs(tables):
    """A batch of neighbours holds all classes, even without shuffling."""
    for rows in tables.values():
        labels = rows["label"].tolist()
        assert all(len(set(labels[start : start + 30])) == 3 for start in range(0, len(labels), 30))
