"""Reading tables: delimiters, columns, values, bad rows."""

import csv
import gzip
import tracemalloc
import unicodedata

import pandas as pd
import pytest

from kerasllm.data import read_table

RECORDS = [
    ("屋顶的瓦片被风吹落了", "坏"),
    ("他说：“花开了, 你来看”", "好"),
    ("第一段\n\n第二段, 有\"引号\"", "好"),
    ("分号;竖线|制表符\t都在这里", "坏"),
]  # fmt: skip


def write(tmp_path, content, name="reviews.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pairs(rows):
    return list(rows[["text", "label"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.csv.gz"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_delimited_tables_written_by_csv_read_back(tmp_path, name, delimiter, line_end):
    path = tmp_path / name
    opener = gzip.open if name.endswith("gz") else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=line_end)
        writer.writerows([("id", "text", "label"), *((7, *record) for record in RECORDS)])
    rows, report = read_table(path)
    assert pairs(rows) == RECORDS
    assert rows["line"].tolist() == [2, 3, 4, 7]
    assert report.delimiter == delimiter
    assert (report.rows_read, report.rows_kept, report.dropped) == (4, 4, [])


def test_values_agree_with_pandas_and_stay_strings(tmp_path):
    texts = ["007", "1e5", "1.0", "NA", "nan", "NULL", "None", "2019-01-01", "TRUE", "1,234"]
    labels = ["01", "1", "1.0", "NA", "nan", "null", "None", "", "x", "y"]
    path = tmp_path / "numbers.csv"
    pd.DataFrame({"text": texts, "label": labels}).to_csv(path, index=False)
    rows, report = read_table(path)
    reference = pd.read_csv(path, dtype=str, keep_default_na=False)
    kept = reference[reference["label"] != ""]
    assert rows["text"].tolist() == kept["text"].tolist()
    assert rows["label"].tolist() == kept["label"].tolist()
    assert report.dropped == [(9, "missing label")]
    assert all(type(value) is str for value in [*rows["text"], *rows["label"]])


def test_real_table_agrees_with_pandas(shared_data):
    path = shared_data / "thucnews_headlines" / "train.csv"
    rows, _ = read_table(path)
    reference = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert rows["text"].tolist() == reference["text"].tolist()
    assert rows["label"].tolist() == reference["label"].tolist()


@pytest.mark.parametrize(
    ("content", "text", "label", "header", "expected"),
    [
        ("好,1\n差,0\n", 0, 1, None, [("好", "1"), ("差", "0")]),
        ("1\t好,很好\n0\t差\n", 1, 0, None, [("好,很好", "1"), ("差", "0")]),
        ("a,b\n好,1\n", 0, 1, True, [("好", "1")]),
        ("a,b\n好,1\n", 0, "b", None, [("好", "1")]),
        ("x,x\n好,1\n", 0, 1, True, [("好", "1")]),
    ],
)
def test_columns_by_position(tmp_path, content, text, label, header, expected):
    rows, _ = read_table(write(tmp_path, content, "a.txt"), text, label, header=header)
    assert pairs(rows) == expected


def test_label_none_gives_no_label_column(tmp_path):
    rows, report = read_table(write(tmp_path, "text,more\n好,\n差,x\n"), label=None)
    assert rows.columns.tolist() == ["text", "line"]
    assert report.classes is None


@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_a_lone_column_of_texts_needs_no_delimiter(tmp_path, name):
    rows, _ = read_table(write(tmp_path, 'text\n很好;真的\n"差,很差"\n', name), label=None)
    assert rows["text"].tolist() == ["很好;真的", "差,很差"]


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("", {}, "is empty"),
        (" \n\n", {}, "is empty"),
        ("text,label\n", {}, "no rows"),
        ("text,label\n,\n\n好\n", {}, "all 3 were dropped, line 2: empty text"),
        ("review,stars\n好,1\n", {}, "'text' and 'label', but its columns are: 'review', 'stars'"),
        ("text,text,label\n好,差,1\n", {}, "2 columns named 'text'"),
        ("text,label\n好,1\n", {"label": "text"}, "text and label are the same column, 'text'"),
        ("好,1\n", {"text": 0, "label": 2}, "no column 2"),
        ("好,1;2\n差,0;1\n", {"text": 0, "label": 1, "name": "a.txt"}, "more than one delimiter"),
        ("text,label\n好,1\n", {"delimiter": "::"}, "one character"),
        ("text,label\n好,1\n", {"delimiter": ";"}, "'text' and 'label'"),
        ("text,label\n好,1\n", {"header": False}, "without a header"),
        ("text,label\n好,1\n", {"text": -1}, "position from 0"),
        ("text,label\n好,1\n", {"label": True}, "position from 0"),
        ("text,label\n好,1\n", {"sheet": "Sheet1"}, "no XLSX"),
        ("text,label\n好,1\n", {"on_bad_rows": "ignore"}, "on_bad_rows"),
        ('{"text": "好"}', {"text": 0, "label": 1}, "name the columns"),
        (b"PK\x03\x04 not a real archive", {}, "no XLSX spreadsheet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old Excel", {}, r"\.xls"),
        (b"7z\xbc\xaf\x27\x1c archive", {}, "unpack it first"),
    ],
)
def test_whole_file_errors_are_one_clear_sentence(tmp_path, content, arguments, message):
    arguments = dict(arguments)
    path = write(tmp_path, content, arguments.pop("name", "reviews.csv"))
    with pytest.raises(ValueError, match=message):
        read_table(path, **arguments)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv does not exist"):
        read_table(tmp_path / "nowhere.csv")


BAD_ROWS = (
    "text,label\n"
    "很好,好\n"  # 2
    "便宜,好用,推荐,好\n"  # 3
    "只有一列\n"  # 4
    "\n"  # 5
    "　\u200b,好\n"  # 6
    "没有标签, \ufeff\n"  # 7
    "多余的空格没关系,差,,\n"  # 8
    '"引号"后面还有字,差\n'  # 9
    '"两行\n引号"还有,差\n'  # 10, 11
    "最后一行,差\n"  # 12
    "\n\n"
)


def test_bad_rows_are_dropped_and_reported_with_their_lines(tmp_path):
    rows, report = read_table(write(tmp_path, BAD_ROWS))
    assert pairs(rows) == [("很好", "好"), ("多余的空格没关系", "差"), ("最后一行", "差")]
    assert rows["line"].tolist() == [2, 8, 12]
    assert report.dropped[:5] == [
        (3, "4 columns instead of 2"),
        (4, "1 column instead of 2"),
        (5, "empty line"),
        (6, "empty text"),
        (7, "missing label"),
    ]
    assert report.dropped[5][0] == 9
    assert report.dropped[5][1].startswith("broken quoting on line 9")
    assert report.dropped[6][0] == 10
    assert report.dropped[6][1].startswith("broken quoting on lines 10-11")
    assert report.rows_read == report.rows_kept + len(report.dropped) == 10


def test_on_bad_rows_error_raises_at_the_first_one(tmp_path):
    with pytest.raises(ValueError, match=r"reviews\.csv, line 3: 4 columns instead of 2"):
        read_table(write(tmp_path, BAD_ROWS), on_bad_rows="error")


def test_on_bad_rows_error_accepts_empty_lines_at_the_end(tmp_path):
    path = write(tmp_path, "text,label\n好,1\n\n\n")
    assert len(read_table(path, on_bad_rows="error")[0]) == 1


def test_a_quote_that_is_never_closed_drops_one_record_and_says_how_far_it_runs(tmp_path):
    rows, report = read_table(write(tmp_path, 'text,label\n好,1\n"差,0\n好,1\n差,0\n'))
    assert pairs(rows) == [("好", "1")]
    assert report.dropped[0][0] == 3
    assert "lines 3-5" in report.dropped[0][1]


@pytest.mark.parametrize(
    "lines",
    [
        ['"很好', "很差", '他说"好"'],  # closed in a later row, with text behind
        ['"很好', "很差", '很好"'],  # closed at the end of a later row
        ['"很好', "很差"],  # never closed
    ],
)
def test_stray_quotes_in_a_tsv_swallow_no_rows(tmp_path, lines):
    content = "label\ttext\n" + "".join(f"1\t{line}\n" for line in lines)
    rows, report = read_table(write(tmp_path, content, "a.tsv"))
    assert rows["text"].tolist() == lines
    assert any("quotes" in note for note in report.notes)


def test_a_cleaner_is_applied_and_rows_it_empties_are_reported(tmp_path):
    def keep_hanzi(text):
        return "".join(c for c in text if unicodedata.category(c) == "Lo")

    rows, report = read_table(
        write(tmp_path, "text,label\n<b>很好</b>,1\n<p></p>,0\n差!,0\n"), cleaner=keep_hanzi
    )
    assert rows["text"].tolist() == ["很好", "差"]
    assert report.dropped == [(3, "nothing left after cleaning")]


def test_labels_lose_blanks_at_both_ends_only(tmp_path):
    labels = [" 好", "好\u3000", "\u200b好\ufeff", "好 的", "１", "1.0"]
    content = "text,label\n" + "".join(f"第{i}条,{label}\n" for i, label in enumerate(labels))
    rows, _ = read_table(write(tmp_path, content))
    assert rows["label"].tolist() == ["好", "好", "好", "好 的", "１", "1.0"]


def test_texts_of_any_length_are_read(tmp_path):
    long_text = "长" * 300_000
    rows, _ = read_table(write(tmp_path, f"text,label\n{long_text},1\n短,0\n"))
    assert rows["text"].map(len).tolist() == [300_000, 1]


def test_invisible_characters_and_formulas_in_texts_are_left_alone(tmp_path):
    texts = ["=1+1", "+86", "@某人", "零\u200b宽", "连\u00ad字", "中\ufeff间", " 两端 ", "零\0字节"]
    content = "text,label\n" + "".join(f"{text},x\n" for text in texts)
    rows, report = read_table(write(tmp_path, content))
    assert rows["text"].tolist() == texts
    assert any("NUL" in warning and "line 9" in warning for warning in report.warnings)


def test_half_a_surrogate_pair_is_replaced_with_a_warning(tmp_path):
    content = '{"text": "坏\\ud83d", "label": "x"}\n{"text": "好\\ud83d\\ude00", "label": "y"}\n'
    rows, report = read_table(write(tmp_path, content, "a.jsonl"))
    assert rows["text"].tolist() == ["坏\ufffd", "好😀"]
    assert "line 1" in report.warnings[0]


def test_a_large_table_takes_a_few_times_its_size_in_memory(tmp_path):
    lines = (
        f"第{i}条评论，东西收到了，和图片上的一样，包装也没有破,{i % 5}" for i in range(50_000)
    )
    path = write(tmp_path, "text,label\n" + "\n".join(lines))
    tracemalloc.start()
    try:
        read_table(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * path.stat().st_size


def test_importing_the_package_loads_no_tensorflow(run_data_code):
    code = "import kerasllm.data; print({'tensorflow', 'keras'} & set(sys.modules))"
    assert run_data_code(code) == "set()\n"
