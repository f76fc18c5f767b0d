"""The report on a table: counts, duplicates, conflicts, and how it prints."""

import collections

import pytest

from kerasllm.data import read_table
from kerasllm.data.duplicates import comparison_key


def read(tmp_path, records, **arguments):
    path = tmp_path / "reviews.csv"
    lines = [f"{text},{label}" for text, label in records]
    path.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    return read_table(path, **arguments)


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["10", "9", "1", "-1"], ["-1", "1", "9", "10"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["正面", "负面", "中性"], sorted(["正面", "负面", "中性"])),
    ],
)
def test_classes_are_in_the_stated_order(tmp_path, labels, order):
    records = [(f"第{row}条", label) for row, label in enumerate(labels * 2)]
    report = read(tmp_path, records)[1]
    assert list(report.classes) == order
    assert report.classes == collections.Counter(labels * 2)


def test_duplicates_are_counted_exactly_and_normalised(tmp_path):
    texts = ["OK，很好", "OK，很好", "ｏｋ很好！", "O K 很 好", "ok很好吗", "？", "！", "！"]
    report = read(tmp_path, [(text, "甲乙"[row % 2]) for row, text in enumerate(texts)])[1]
    assert report.exact_duplicates == 2
    assert report.normalised_duplicates == 4


def test_conflicting_labels_are_listed_with_their_lines(tmp_path):
    records = [("很好", "甲"), ("不好", "乙"), ("很 好！", "乙"), ("不好", "乙"), ("很好", "甲")]
    report = read(tmp_path, records)[1]
    assert report.conflicting == [("很好", [(2, "甲"), (4, "乙"), (6, "甲")])]
    assert "1 text has two or more labels" in report.warnings


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Ｐｙｔｈｏｎ３", "python3", True),
        ("很好。", "很好", True),
        ("很\u200b好", "很　好", True),
        ("straße", "STRASSE", True),
        ("很好😀", "很好", False),
        ("？", "！", False),
        ("3.5", "35", True),
        ("很好", "不好", False),
    ],
)
def test_comparison_key_disregards_width_case_blanks_and_punctuation(first, second, same):
    assert (comparison_key(first) == comparison_key(second)) is same


def test_labels_that_look_alike_are_pointed_out(tmp_path):
    labels = ["1", "１", "1.0", "Good", "good", "坏"]
    report = read(tmp_path, [(f"第{row}条", label) for row, label in enumerate(labels)])[1]
    alike = [warning for warning in report.warnings if "may mean the same" in warning]
    assert len(alike) == 2
    assert all(name in alike[0] for name in ("'1'", "'１'", "'1.0'"))


def test_swapped_columns_are_pointed_out(tmp_path):
    records = [(row % 2, f"这是第{row}条评论") for row in range(30)]
    assert any("swapped" in warning for warning in read(tmp_path, records)[1].warnings)


def test_one_class_is_a_warning_and_check_trainable_raises(tmp_path):
    report = read(tmp_path, [("很好", "甲"), ("不好", "甲")])[1]
    assert any("only one class" in warning for warning in report.warnings)
    with pytest.raises(ValueError, match="only one class"):
        report.check_trainable()
    with pytest.raises(ValueError, match="without labels"):
        read(tmp_path, [("很好", "甲")], label=None)[1].check_trainable()
    read(tmp_path, [("很好", "甲"), ("不好", "乙")])[1].check_trainable()


def test_the_printed_report_is_short_and_shows_what_matters(tmp_path):
    records = [(f"第{row}条", f"c{row % 15:02}") for row in range(60)] + [("", "x")] * 13
    printed = str(read(tmp_path, records)[1])
    lines = printed.splitlines()
    assert lines[0].endswith("reviews.csv: 73 rows read, 60 kept, 13 dropped")
    assert "CSV, utf-8, delimiter ','" in lines[1]
    assert "c00: 4 (6.7%)" in printed
    assert "c10" not in printed
    assert "... and 5 more" in printed
    assert "line 62: empty text" in printed
    assert "line 72" not in printed
    assert "... and 3 more" in printed
    assert len(lines) < 30
    assert not any("\n" in line or len(line) > 300 for line in lines)
