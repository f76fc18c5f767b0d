"""Corpora: what documents come out of what files."""

import gzip
import json

import pytest

from kerasllm.data import Corpus
from kerasllm.text import TextCleaner


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


POEMS = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n"
PLAY = "First:\nSpeak.\n\nAll:\nSpeak, speak.\n"


@pytest.mark.parametrize(
    ("documents", "text", "expected"),
    [
        ("auto", POEMS, POEMS.splitlines()),
        ("auto", "\n" + POEMS + "\n\n", POEMS.splitlines()),
        ("auto", PLAY, [PLAY]),
        ("line", PLAY, ["First:", "Speak.", "All:", "Speak, speak."]),
        ("block", PLAY, ["First:\nSpeak.", "All:\nSpeak, speak."]),
        ("file", POEMS, [POEMS]),
        ("auto", "only one line", ["only one line"]),
    ],
)
def test_text_file_is_cut_into_documents(tmp_path, documents, text, expected):
    corpus = Corpus(write(tmp_path / "text.txt", text), documents=documents)
    assert list(corpus) == expected
    assert corpus.report.documents == len(expected)
    assert corpus.report.characters == sum(map(len, expected))
    assert corpus.report.bytes == sum(len(text.encode()) for text in expected)


def test_json_lines_tables_and_gzip_are_read(tmp_path):
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in ("甲\r\n乙", "丙")]
    write(tmp_path / "a.jsonl", "\n".join([*lines, "{broken", '{"title": "x"}', ""]))
    write(tmp_path / "b.csv", 'text,label\n"丁\n戊",1\n007,2\n')
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress("己\n庚\n".encode()))
    corpus = Corpus([tmp_path / name for name in ("a.jsonl", "b.csv", "c.txt.gz")])
    assert list(corpus) == ["甲\n乙", "丙", "丁\n戊", "007", "己", "庚"]
    assert any("2 lines without a text in the field 'text'" in n for n in corpus.report.notes)
    assert any("line 3" in note for note in corpus.report.notes)


def test_folder_gives_its_files_by_name_and_tells_what_it_left_out(tmp_path):
    for name in ("b.txt", "sub/a.txt", ".hidden/c.txt", "picture.png"):
        write(tmp_path / name, name)
    corpus = Corpus(tmp_path)
    assert list(corpus) == ["b.txt", "sub/a.txt"]
    assert "1 files of other kinds left out" in corpus.report.notes[0]


def test_duplicates_by_their_clean_text_come_once(tmp_path):
    path = write(tmp_path / "text.txt", "好！\n好!\n坏\n好！\n")
    corpus = Corpus(path, cleaner=TextCleaner())
    assert list(corpus) == ["好!", "坏"]
    assert corpus.report.duplicates == 2
    assert list(Corpus(path)) == ["好！", "好!", "坏"]
    assert list(Corpus(path, deduplicate=False)) == ["好！", "好!", "坏", "好！"]


def test_cleaning_keeps_lines(tmp_path):
    path = write(tmp_path / "text.txt", "<b>Ａ</b>\n\n<i>b</i>\n")
    assert list(Corpus(path, documents="file", cleaner=TextCleaner())) == ["A\n\nb\n"]


def test_empty_file_among_good_ones_is_told_and_passed_over(tmp_path):
    paths = [write(tmp_path / "a.txt", ""), write(tmp_path / "b.txt", "好")]
    paths.append(write(tmp_path / "c.txt", " \n\n"))
    corpus = Corpus(paths)
    assert list(corpus) == ["好"]
    assert [note.split("/")[-1] for note in corpus.report.notes] == [
        "a.txt holds no text",
        "c.txt holds no text",
    ]


def test_gb18030_is_found(tmp_path):
    text = "今天天气很好，我们一起去公园玩。\n明天不知道会不会下雨。\n"
    assert list(Corpus(write(tmp_path / "a.txt", text, "gb18030"))) == text.splitlines()


def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes("好的，没有问题\n".encode() + b"\xff\xfe\xfa\n")
    with pytest.raises(ValueError, match=r"bad\.txt .*line 2"):
        list(Corpus(bad))
    with pytest.raises(FileNotFoundError, match=r"missing\.txt does not exist"):
        Corpus(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match="There is no text in"):
        list(Corpus(write(tmp_path / "empty.txt", "\n")))
    with pytest.raises(ValueError, match="holds no file named"):
        Corpus(write(tmp_path / "others" / "a.png", "x").parent)
    with pytest.raises(ValueError, match="should be one of auto, line, block, file"):
        Corpus(bad, documents="page")


def test_lone_surrogates_become_replacement_characters(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a\\ud800b"}\n{"text": "\\ud83d\\ude00"}\n')
    assert list(Corpus(path)) == ["a\ufffdb", "😀"]
