"""errors.csv: which rows, in which order, and every text as it was."""

import csv
import io
import os

import numpy as np
import pandas as pd
import pytest

from kerasllm.data import read_table
from kerasllm.evaluation import write_errors

NAMES = ["差评", "中评", "好评, 五星"]
HARD_TEXTS = [
    "逗号,在,里面",
    '他说"还行"',
    "第一行\n第二行\r\n第三行",
    "=1+2",
    "+86 @某人 -5",
    "'单引号",
    "\t制表符 ",
    "",
    "表情😀与\u2028分隔",
]


def read(path):
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))


def test_wrong_rows_come_surest_first_and_equal_ones_in_their_order(tmp_path):
    probabilities = np.array(
        [
            [0.5, 0.3, 0.2],  # wrong
            [0.1, 0.8, 0.1],  # right
            [0.0, 0.1, 0.9],  # wrong, the surest
            [0.2, 0.5, 0.3],  # wrong, as sure as the first
            [0.4, 0.3, 0.3],  # wrong, least sure
        ]
    )
    texts = ["一", "二", "三", "四", "五"]
    path = tmp_path / "errors.csv"
    assert write_errors(path, texts, [1, 1, 0, 2, 2], probabilities, NAMES) == 4
    assert [tuple(row.values()) for row in read(path)] == [
        ("三", "差评", "好评, 五星", "0.9000"),
        ("一", "中评", "差评", "0.5000"),
        ("四", "好评, 五星", "中评", "0.5000"),
        ("五", "好评, 五星", "差评", "0.4000"),
    ]
    assert list(read(path)[0]) == ["text", "truth", "prediction", "probability"]


@pytest.mark.parametrize("reader", ["csv", "pandas"])
def test_hard_texts_come_back_as_they_were(tmp_path, reader):
    path = tmp_path / "errors.csv"
    rows = len(HARD_TEXTS)
    probabilities = np.tile([0.6, 0.4, 0.0], (rows, 1))
    assert write_errors(path, HARD_TEXTS, np.ones(rows, int), probabilities, NAMES) == rows
    if reader == "csv":
        texts = [row["text"] for row in read(path)]
    else:
        texts = pd.read_csv(path, keep_default_na=False, dtype=str)["text"].tolist()
    assert texts == HARD_TEXTS


def test_no_errors_leave_the_header_alone(tmp_path):
    path = tmp_path / "errors.csv"
    assert write_errors(path, ["好"], [2], np.array([[0.1, 0.1, 0.8]]), NAMES) == 0
    assert path.read_text("utf-8-sig") == "text,truth,prediction,probability\n"


def test_errors_once_had_no_mark_and_excel_garbled_them(tmp_path):
    """Excel takes a CSV without it for the system's old encoding; our reader takes both."""
    path = tmp_path / "errors.csv"
    write_errors(path, ["味道一般"], [0], np.array([[0.1, 0.9, 0.0]]), NAMES)
    assert path.read_bytes().startswith(b"\xef\xbb\xbftext,")
    rows, report = read_table(path, text="text", label="truth")
    assert rows["text"].tolist() == ["味道一般"] and rows["label"].tolist() == ["差评"]
    assert report.rows_kept == 1


def test_failure_keeps_the_earlier_file(tmp_path):
    path = tmp_path / "errors.csv"
    path.write_text("before")
    with pytest.raises(IndexError):
        write_errors(path, [], [0], np.array([[0.0, 1.0, 0.0]]), NAMES)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["errors.csv"]
