"""Finding encodings: what is recognised, and where the user is asked instead."""

import codecs
import gzip

import pytest

from kerasllm.data import read_table
from kerasllm.data.encodings import find_encoding

SIMPLIFIED = (
    "text,label\n今天的火车晚点了半个小时,负面\n新买的水壶保温效果非常好,正面\n"
    "师傅装得又快又干净，还帮忙把旧的搬走了。,正面\n说明书写得太简单，看了三遍还是不会用,负面\n"
)
TRADITIONAL = (
    "text,label\n今天的火車晚點了半個小時,負面\n新買的水壺保溫效果非常好,正面\n"
    "師傅裝得又快又乾淨，還幫忙把舊的搬走了。,正面\n說明書寫得太簡單，看了三遍還是不會用,負面\n"
)
KOREAN = "text,label\n기차가 삼십 분이나 늦게 왔습니다,나쁨\n새로 산 주전자는 정말 좋습니다,좋음\n"
JAPANESE = (
    "text,label\nきょうの電車はとてもおくれました,わるい\nこのおちゃはとてもおいしいです,よい\n"
)


def write(tmp_path, data, name="reviews.csv"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("encoding", "mark", "name"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8", codecs.BOM_UTF8, "utf-8"),
        ("utf-16-le", codecs.BOM_UTF16_LE, "utf-16"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "utf-16"),
        ("utf-32-le", codecs.BOM_UTF32_LE, "utf-32"),
        ("gb2312", b"", "gb18030"),
        ("gbk", b"", "gb18030"),
        ("gb18030", b"", "gb18030"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_recognised_encodings_read_the_same(tmp_path, encoding, mark, name, pack):
    path = write(tmp_path, pack(mark + SIMPLIFIED.encode(encoding)))
    rows, report = read_table(path)
    assert report.encoding == name
    expected = [line.split(",") for line in SIMPLIFIED.splitlines()[1:]]
    assert rows[["text", "label"]].values.tolist() == expected


@pytest.mark.parametrize(
    ("text", "encoding", "suggestion"),
    [(TRADITIONAL, "big5", "big5"), (TRADITIONAL, "cp950", "big5"), (KOREAN, "euc_kr", "euc_kr")],
)
def test_text_that_also_decodes_as_gb18030_is_asked_about(tmp_path, text, encoding, suggestion):
    path = write(tmp_path, text.encode(encoding))
    path.read_bytes().decode("gb18030")  # nonsense, but no error
    with pytest.raises(ValueError, match=rf'reviews\.csv.*encoding="{suggestion}"'):
        read_table(path)
    rows, report = read_table(path, encoding=encoding)
    assert rows["text"][0] == text.splitlines()[1].split(",")[0]
    assert report.encoding == encoding


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (JAPANESE, "euc_jp"),
        (JAPANESE, "shift_jis"),
        ("text,label\nDéjà vu à Genève,été\nGarçon très élégant,hiver\n", "latin-1"),
        ("text,label\n\u201cquoted\u201d \u2013 dash,x\n\u2018y\u2019,z\n", "cp1252"),
    ],
)
def test_other_encodings_are_never_taken_for_gb18030(tmp_path, text, encoding):
    with pytest.raises(ValueError, match="encoding="):
        read_table(write(tmp_path, text.encode(encoding)))


def test_bytes_plausible_in_two_encodings_are_asked_about(tmp_path):
    data = "text,label\n很好,好\n".encode("gbk")
    assert len(data.decode("big5")) == len(data.decode("gbk"))
    with pytest.raises(ValueError, match='encoding="gb18030" or encoding="big5"'):
        read_table(write(tmp_path, data))


def test_every_random_sample_of_real_text_is_read_rightly_or_asked_about(shared_data, tmp_path):
    """Real rows as GB18030, real poems as Big5: no sample may come out in the wrong encoding."""
    reviews = (shared_data / "waimai_10k/valid.csv").read_text("utf-8").splitlines()[1:]
    poems = (shared_data / "tang_quatrains_lm/valid.txt").read_text("utf-8").splitlines()
    right = 0
    for start in range(0, 600, 6):
        text = "\n".join(reviews[start : start + 6])
        try:
            found = find_encoding(write(tmp_path, text.encode("gb18030")))
        except ValueError:
            continue
        assert found.name in ("gb18030", "utf-8")  # UTF-8 if all six are ASCII
        right += 1
    assert right >= 98
    asked = 0
    for poem in poems:
        data = poem.encode("big5", "ignore")
        with pytest.raises(ValueError, match=r"big5|give encoding="):
            find_encoding(write(tmp_path, data))
        asked += 1
    assert asked > 500


def test_mixed_encodings_name_the_first_bad_line(tmp_path):
    lines = SIMPLIFIED.splitlines(keepends=True)
    data = b"".join(line.encode("gbk" if row == 3 else "utf-8") for row, line in enumerate(lines))
    with pytest.raises(ValueError, match="line 4 is not UTF-8, but line 2 is"):
        read_table(write(tmp_path, data))


def test_a_few_utf8_lines_in_a_gbk_file_are_not_decoded_into_nonsense(tmp_path):
    # All of it decodes as GB18030 and nearly all characters are common.
    odd = "新店的咖啡豆很香,正面\n"
    data = (SIMPLIFIED * 30).encode("gbk") + odd.encode("utf-8")
    data.decode("gb18030")
    with pytest.raises(ValueError, match="line 2 is not UTF-8, but line 151 is"):
        read_table(write(tmp_path, data))


def test_a_wrong_encoding_given_names_line_and_likely_encoding(tmp_path):
    path = write(tmp_path, SIMPLIFIED.encode("gbk"))
    with pytest.raises(ValueError, match=r'csv is not utf-8: line 2 .*encoding="gb18030"'):
        read_table(path, encoding="utf-8")


def test_a_bad_byte_far_into_a_large_file_is_located(tmp_path):
    line = "这一行是好的,正面\r\n".encode()
    data = b"text,label\r\n" + line * 60_000 + "坏".encode()[:2] + b",x\r\n" + line
    assert len(data) > 1 << 20
    with pytest.raises(ValueError, match="line 60002 is not UTF-8"):
        find_encoding(write(tmp_path, data))


def test_a_character_across_the_chunks_of_reading_is_no_error(tmp_path):
    for shift in range(3):
        data = b"a" * ((1 << 20) - 1 - shift) + "很好".encode()
        assert find_encoding(write(tmp_path, data)).name == "utf-8"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_rows_before_a_cut_character_are_kept(tmp_path, encoding):
    data = (SIMPLIFIED + "这一行断在汉字中间").encode(encoding)[:-1]
    rows, report = read_table(write(tmp_path, data))
    assert len(rows) == 4
    assert report.dropped == [(6, "the file ends here, in the middle of a character")]
    assert any("line 6" in warning for warning in report.warnings)


def test_utf16_without_a_mark_asks_for_its_byte_order(tmp_path):
    path = write(tmp_path, SIMPLIFIED.encode("utf-16-le"))
    with pytest.raises(ValueError, match="utf-16-le"):
        read_table(path)
    assert len(read_table(path, encoding="utf-16-le")[0]) == 4


@pytest.mark.parametrize("name", ["utf-9", "hex"])
def test_an_unknown_encoding_is_a_value_error(tmp_path, name):
    with pytest.raises(ValueError, match=f"encoding='{name}'"):
        read_table(write(tmp_path, SIMPLIFIED.encode()), encoding=name)


def test_damaged_gzip_is_a_value_error(tmp_path):
    packed = gzip.compress(SIMPLIFIED.encode() * 50)
    with pytest.raises(ValueError, match="damaged or cut gzip"):
        read_table(write(tmp_path, packed[:-20], "reviews.csv.gz"))
