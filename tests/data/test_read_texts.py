"""Reading the texts to predict on: one per line, aligned."""

import gzip

import pytest

from kerasllm.data import read_texts

LINES = [
    "今天的面条有点咸",
    "",
    "  ",
    "店员\u2028很热情\x0b真的\x85是",
    "nan",
    "0.10",
    "最后一行，没有换行",
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", [True, False])
def test_every_line_gives_one_text(tmp_path, line_end, encoding, end):
    path = tmp_path / "texts.txt"
    path.write_bytes((line_end.join(LINES) + (line_end if end else "")).encode(encoding))
    assert read_texts(path) == LINES


def test_gzip_and_gbk_are_read(tmp_path):
    path = tmp_path / "texts.txt"
    lines = ["今天的面条有点咸，下次不来了", "师傅手艺不错，店里也很干净"]
    path.write_bytes(gzip.compress("\n".join(lines).encode("gbk")))
    assert read_texts(path) == lines
    path.write_bytes("很好".encode("gbk"))
    with pytest.raises(ValueError, match="encoding="):
        read_texts(path)
    assert read_texts(path, encoding="gbk") == ["很好"]


def test_an_empty_file_has_no_texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(b"")
    assert read_texts(path) == []
    path.write_bytes(b"\n")
    assert read_texts(path) == [""]


def test_a_cut_character_is_an_error_that_names_the_line(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes("第一行\n断了".encode()[:-1])
    with pytest.raises(ValueError, match="line 2"):
        read_texts(path)


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_texts(tmp_path / "nowhere.txt")


def test_the_shared_prediction_input_keeps_its_lines(shared_data):
    texts = read_texts(shared_data / "hard" / "47_predict_input.txt")
    assert len(texts) == 5
    assert (texts[1], texts[3]) == ("", "   ")
    assert texts[4] == "包装结实，客服态度也不错"
