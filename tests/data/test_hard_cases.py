"""The defective files of the shared set `hard`: each gives what its README line asks for."""

import csv
import gzip
import pathlib

import pytest

from kerasllm.data import read_table

# The twelve reviews most of the files are made of, as the plain one among them has them.
PLAIN = "05_crlf.csv"


@pytest.fixture(scope="module")
def hard(shared_data):
    folder = shared_data / "hard"
    if not folder.is_dir():
        pytest.skip(f"the defective files are not here: {folder}")
    return folder


@pytest.fixture(scope="module")
def plain(hard):
    lines = (hard / PLAIN).read_text(encoding="utf-8").split("\n")[1:-1]
    return [tuple(line.rsplit(",", 1)) for line in lines]


def read(path, **arguments):
    rows, report = read_table(path, **arguments)
    assert all(type(value) is str for value in rows["text"])
    return list(rows[["text", "label"]].itertuples(index=False, name=None)), report


def test_every_file_has_a_test(hard):
    source = pathlib.Path(__file__).read_text(encoding="utf-8")
    source += pathlib.Path(__file__).with_name("test_read_texts.py").read_text(encoding="utf-8")
    names = [path.name for path in hard.iterdir() if path.name != "README.md"]
    assert names
    assert not [name for name in names if name not in source]


@pytest.mark.parametrize("encoding", [None, "gbk", "gb18030"])
def test_gbk_is_read_without_mojibake(hard, plain, encoding):
    assert read(hard / "01_gbk.csv", encoding=encoding)[0] == plain


def test_gbk_as_utf8_names_the_file_and_the_encoding(hard):
    with pytest.raises(ValueError, match=r'01_gbk\.csv is not utf-8.*encoding="gb18030"'):
        read_table(hard / "01_gbk.csv", encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["03_utf8_bom.csv", PLAIN, "19_wrong_delimiter.csv", "35_concatenated.json"]
)
def test_readable_variants_give_the_twelve_rows(hard, plain, name):
    records, report = read(hard / name)
    assert records == plain
    assert report.dropped == []


def test_quoted_newlines_give_five_records(hard):
    rows, _ = read_table(hard / "07_quoted_newlines.csv")
    with open(hard / "07_quoted_newlines.csv", encoding="utf-8", newline="") as file:
        assert rows["text"].tolist() == [text for text, _ in csv.reader(file)][1:]
    assert rows["line"].tolist() == [2, 4, 5, 10, 11]


def test_empty_texts_are_dropped_and_literal_words_kept(hard):
    records, report = read(hard / "09_empty_text.csv")
    assert [text for text, _ in records][1:-1] == ["nan", "NULL", "None", "NA", "null"]
    assert report.dropped == [(line, "empty text") for line in (3, 4, 5, 6)]


def test_very_long_rows_are_read_whole(hard):
    records, _ = read(hard / "11_very_long_rows.csv.gz")
    lengths = [len(text) for text, _ in records]
    assert lengths[1:4] == [120_000, 140_000, 60_000]
    with gzip.open(hard / "11_very_long_rows.csv.gz", "rt", encoding="utf-8") as file:
        assert sum(lengths) == sum(len(line.rsplit(",", 1)[0]) for line in file) - len("text")


def test_emoji_only_rows_are_kept(hard):
    records, report = read(hard / "13_emoji.csv")
    assert len(records) == 8
    assert records[1][0] == "👍🏽👍🏽👍🏽"
    assert records[7][0] == "☹"
    assert report.dropped == []


def test_html_is_left_alone_without_a_cleaner_and_empty_after_one(hard):
    records, report = read(hard / "15_html.csv")
    assert "3<5 并且 7>6，不是标签" in dict(records)
    assert records[-1][0] == "<p></p>"
    assert report.dropped == []
    _, report = read(hard / "15_html.csv", cleaner=lambda text: text.replace("<p></p>", ""))
    assert report.dropped == [(8, "nothing left after cleaning")]


def test_a_truncated_file_keeps_the_good_rows_and_names_the_last_line(hard, plain):
    records, report = read(hard / "17_truncated.csv")
    assert records == plain
    assert [line for line, _ in report.dropped] == [14]
    assert any("line 15" in warning for warning in report.warnings)


def test_a_wrong_delimiter_given_names_what_was_found(hard):
    with pytest.raises(ValueError, match="'text' and 'label', but its columns are: 'text;label'"):
        read_table(hard / "19_wrong_delimiter.csv", delimiter=",")


def test_a_header_alone_has_no_rows(hard):
    with pytest.raises(ValueError, match="has no rows"):
        read_table(hard / "21_header_only.csv")


def test_ragged_rows_are_reported_and_lend_no_label(hard):
    records, report = read(hard / "23_ragged_rows.csv")
    assert [line for line, _ in report.dropped] == [3, 4, 5, 6, 7]
    assert len(records) == 2
    assert set(report.classes) == {"正面", "负面"}


def test_label_variants_are_trimmed_and_shown(hard):
    report = read(hard / "25_label_variants.csv")[1]
    assert report.classes["正面"] == 4
    assert len(report.classes) == 6
    assert all(f"{label}: 1" in str(report) for label in ("1", "1.0", "１", "Positive", "positive"))


def test_one_class_is_told_before_training(hard):
    report = read(hard / "27_one_class.csv")[1]
    assert "only one class" in str(report)
    with pytest.raises(ValueError, match="only one class"):
        report.check_trainable()


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_mixed_encodings_name_the_first_bad_line(hard, encoding):
    with pytest.raises(ValueError, match=r"29_mixed_encoding\.csv.*line 3"):
        read_table(hard / "29_mixed_encoding.csv", encoding=encoding)


def test_nul_bytes_are_read_with_a_warning(hard):
    records, report = read(hard / "31_nul_bytes.csv")
    assert len(records) == 12
    assert sum(text.count("\0") for text, _ in records) == 3
    assert any("NUL" in warning for warning in report.warnings)


def test_a_lone_surrogate_is_replaced(hard):
    records, report = read(hard / "33_lone_surrogate.jsonl")
    assert [text.encode("utf-8").decode("utf-8") for text, _ in records] == [
        "坏掉的表情\ufffd",
        "好的表情😀",
    ]
    assert report.warnings


def test_gzip_under_another_name_is_read_with_a_note(hard, plain):
    records, report = read(hard / "37_gzip_without_gz_name.csv")
    assert records == plain
    assert any("gzip" in note for note in report.notes)


def test_the_chnsenticorp_layout_is_read(hard, plain):
    records, report = read(hard / "39_chnsenticorp_style.tsv", text="text_a")
    assert [text for text, _ in records] == [text for text, _ in plain]
    assert report.classes == {"0": 6, "1": 6}
    assert list(report.classes) == ["0", "1"]
    with pytest.raises(ValueError, match="its columns are: 'label', 'text_a'"):
        read_table(hard / "39_chnsenticorp_style.tsv")


def test_formula_like_texts_are_unchanged(hard):
    records, _ = read(hard / "41_formula_like.csv")
    assert [text for text, _ in records] == [
        "=1+1",
        "+86 13800000000",
        "-5 星",
        "@老板 不错",
        '=HYPERLINK("http://x.example")',
    ]


def test_invisible_characters_are_kept_for_the_cleaner(hard):
    records, _ = read(hard / "43_invisible.csv")
    with open(hard / "43_invisible.csv", encoding="utf-8", newline="") as file:
        assert records == [tuple(record) for record in csv.reader(file)][1:]


def test_numeric_texts_stay_as_written(hard):
    records, _ = read(hard / "45_numeric_texts.csv")
    assert [text for text, _ in records] == [
        "007",
        "1e5",
        "2019-01-01",
        "13800000000",
        "0.10",
        "TRUE",
        "1,234",
        "∞",
    ]


def test_big5_is_asked_about_and_read_when_named(hard):
    with pytest.raises(ValueError, match='encoding="big5"'):
        read_table(hard / "49_big5.csv")
    records, _ = read(hard / "49_big5.csv", encoding="big5")
    assert records == [("這家餐廳很好", "正面"), ("服務太差", "負面")]
