"""The engine in C++ against jieba: not one token may differ."""

import concurrent.futures
import copy
import itertools
import os
import pickle
import re
import time

import pytest
from jieba_checks import WAYS, import_jieba, random_texts, read_all_texts, words_of
from kerasllm_ops import jieba_engine, text_library

pytestmark = pytest.mark.skipif(
    jieba_engine.problem() is not None, reason=str(jieba_engine.problem())
)

FUZZ_COUNT = int(os.environ.get("KERASLLM_JIEBA_FUZZ_COUNT", "4000"))
FUZZ_SEED = int(os.environ.get("KERASLLM_JIEBA_FUZZ_SEED", "1"))
USER_WORDS = [
    ("云计算实验室", None),
    ("台中文创", 3),
    ("的一", 0),
    ("北京", 0),
    ("带 空格", None),
    ("γ射线", None),
    ("𠮷野家", 7),
    ("A", 3),
    ("AB", 5),
    ("一是在不了", None),
    ("是在", 100_000),
    ("是在", None),
    ("abc", 9),
    ("中国人民", 0),
    ("中国人民", 12),
]


@pytest.fixture(scope="module")
def jieba():
    return import_jieba()


@pytest.fixture(scope="module")
def plain(jieba):
    """`(ours, jieba's)`."""
    reference = jieba.Tokenizer()
    reference.initialize()
    return jieba_engine.shared_engine(), reference


@pytest.fixture(scope="module")
def with_user_words(jieba):
    reference = jieba.Tokenizer()
    before = set(jieba.finalseg.Force_Split_Words)
    for word, frequency in USER_WORDS:
        reference.add_word(word, frequency)
    yield jieba_engine.JiebaEngine(USER_WORDS), reference
    # jieba has one set of them for all tokenizers.
    jieba.finalseg.Force_Split_Words.clear()
    jieba.finalseg.Force_Split_Words.update(before)


@pytest.fixture(scope="module")
def words(plain):
    return [word for word, frequency in plain[1].FREQ.items() if frequency][::37]


def expect_same(engines, texts, ways=WAYS):
    ours, reference = engines
    texts = list(texts)
    for mode, hmm in ways:
        for text, found in zip(texts, ours.cut(texts, mode, hmm, keep_blanks=True), strict=True):
            expected = words_of(reference, mode, hmm, text)
            assert found == expected, f"mode={mode!r}, hmm={hmm}: {text!r}"


def test_a_sample_of_the_real_texts_is_cut_as_by_jieba(plain, shared_data):
    expect_same(plain, itertools.islice(read_all_texts(shared_data), 0, None, 67))


@pytest.mark.slow
def test_all_real_texts_are_cut_as_by_jieba(plain, shared_data):
    expect_same(plain, (text for text in read_all_texts(shared_data) if len(text) < 5_000))


@pytest.mark.slow
def test_all_real_texts_with_user_words_are_cut_as_by_jieba(with_user_words, shared_data):
    expect_same(with_user_words, (t for t in read_all_texts(shared_data) if len(t) < 5_000))


def test_random_texts_are_cut_as_by_jieba(plain, words):
    expect_same(plain, random_texts(FUZZ_COUNT, words, FUZZ_SEED))


def test_random_texts_with_user_words_are_cut_as_by_jieba(with_user_words, words):
    words = [*words, *[word for word, _ in USER_WORDS] * 40]
    expect_same(with_user_words, random_texts(FUZZ_COUNT // 4, words, FUZZ_SEED))


def test_every_character_alone_and_between_words_is_cut_as_by_jieba(plain):
    texts = [
        "".join(f"好{chr(code)}a{chr(code)}" for code in range(start, start + 64))
        for start in itertools.chain(
            range(0, 0x3400, 64), range(0x9F00, 0xA100, 64), range(0xFF00, 0x10000, 64)
        )
    ]
    expect_same(plain, texts, [("cut", True), ("all", False)])


def test_blanks_are_those_of_pythons_regular_expressions(plain):
    text = "".join(map(chr, range(0x10FFFF)))  # the last one separates
    expected = [c for c in text if not re.match(r"\s", c)]
    found = plain[0].cut(["".join(f"{c}。" for c in text)])[0]
    run = re.compile("[\u4e00-\u9fd5a-zA-Z0-9+#&._%-]")
    assert [word for word in found if word != "。"] == [c for c in expected if c != "。"]
    assert sum(run.match(c) is not None for c in found) == 20_950 + 62 + 7


def test_user_words_get_the_frequencies_of_jieba(with_user_words):
    ours, reference = with_user_words
    assert ours.total == reference.total
    for word, _ in USER_WORDS:
        assert ours.frequency(word) == reference.FREQ[word]
    assert ours.frequency("没有这样的词") == ours.frequency("") == 0


def test_latin_words_that_jieba_joins_across_another_are_joined(with_user_words):
    ours, reference = with_user_words
    assert ours.cut(["xABy"], "all") == [reference.lcut("xABy", cut_all=True)] == [["AB", "xy"]]


def test_split_words_stay_with_their_engine(plain, jieba):
    text = "小绿鲸读书会"
    name = next(word for word in jieba.lcut(text) if plain[0].frequency(word) == 0)
    before = plain[0].cut([text])
    ours = jieba_engine.JiebaEngine([(name, 0)])
    assert ours.cut([text]) != before
    assert plain[0].cut([text]) == before


def test_a_longest_run_cuts_runs_only(plain):
    text = "我来到北京清华大学，今天天气不错。"
    run, rest = text.split("，")
    pieces = [run[:4], run[4:8], run[8:], "，", rest[:4], rest[4:6], "。"]
    expected = list(itertools.chain.from_iterable(map(plain[1].lcut, pieces)))
    assert plain[0].cut([text], longest_run=4) == [expected]


def test_time_is_linear_in_an_unbroken_run(plain):
    text = "差" * 1_000_000
    start = time.process_time()
    for mode, hmm in WAYS:
        assert "".join(plain[0].cut([text], mode, hmm)[0][:3]).startswith("差")
    assert time.process_time() - start < 5


def test_a_text_that_holds_every_separator_is_cut(plain):
    texts = ["".join(map(chr, range(0x20))) + "我来到北京", "\x1f", "\x1f\x00"]
    expect_same(plain, texts)


def test_a_text_of_all_characters_there_are_is_refused(plain):
    with pytest.raises(ValueError, match="every character of Unicode"):
        plain[0].cut(["".join(map(chr, range(0x110000)))])


def test_nothing_gives_nothing(plain):
    assert plain[0].cut([]) == []
    assert plain[0].cut(["", ""]) == [[], []]
    assert plain[0].cut([" ", "", "好"], "all") == [[], [], ["好"]]


def test_threads_share_an_engine(plain):
    texts = ["我来到北京清华大学", "小明硕士毕业于中国科学院计算所"] * 500
    expected = plain[0].cut(texts)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(plain[0].cut, [texts] * 16):
            assert found == expected


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_engine_is_not_copied(plain, copied):
    with pytest.raises(TypeError, match="make it again from its words"):
        copied(plain[0])


def test_frequencies_too_large_are_refused():
    with pytest.raises(ValueError, match="should sum to less"):
        jieba_engine.JiebaEngine([("词", 2**62)])


def test_a_broken_dictionary_is_refused_with_its_line(tmp_path, monkeypatch):
    folder = tmp_path / "jieba"
    folder.mkdir()
    (folder / "dict.txt").write_text("词 3 n\n字 x\n", encoding="utf-8")

    class Spec:
        submodule_search_locations = (str(folder),)

    tables = jieba_engine._hmm_tables(
        jieba_engine.pathlib.Path(
            jieba_engine.importlib.util.find_spec("jieba").submodule_search_locations[0]
        )
    )
    monkeypatch.setattr(jieba_engine, "_hmm_tables", lambda folder: tables)
    monkeypatch.setattr(jieba_engine.importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(ValueError, match="line 2 of the dictionary has a frequency"):
        jieba_engine.JiebaEngine()


def test_another_jieba_is_left_to_python(monkeypatch):
    monkeypatch.setattr(jieba_engine.importlib.metadata, "version", lambda name: "0.43")
    assert "does what 0.42.1 does" in jieba_engine.problem.__wrapped__()


def test_kerasllm_native_0_switches_it_off(monkeypatch):
    monkeypatch.setenv("KERASLLM_NATIVE", "0")
    monkeypatch.setattr(text_library, "load", text_library.load.__wrapped__)  # not the cached
    assert "KERASLLM_NATIVE=0" in jieba_engine.problem.__wrapped__()
