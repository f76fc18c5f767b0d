"""JiebaTokenizer against jieba itself, with the native library and without."""

import copy
import csv
import itertools
import json
import logging
import pickle
import time
import warnings

import pytest
from kerasllm_ops import jieba_engine

from kerasllm.text import JiebaTokenizer

TEXTS = [
    "我来到北京清华大学",
    "小明硕士毕业于中国科学院计算所，后在日本京都大学深造",
    "他来到了网易杭研大厦",
    "永和服装饰品有限公司",
    "iPhone 15 Pro降价100元，C++和Python3.11也行！  ",
    "换行\r\n和\t制表　全角空格",
    "表情😀👍🏽❤️，café при",
    "3.14%，2024-03-15，a_b.c#d&e+f",
    "",
    " ",
    "。。。",
    "零\u200b宽\x00\ud800",
]
WORDS = ["云计算实验室", ("台中文创", 3), ("凱特琳", None, "nz"), ("杭研大厦", 5, "n")]


@pytest.fixture(autouse=True, params=["native", "jieba"])
def path(request, monkeypatch):
    """Both ways of doing the work."""
    if request.param == "jieba":
        monkeypatch.setattr(jieba_engine, "problem", lambda: "a test says so")
    elif jieba_engine.problem() is not None:
        pytest.skip(jieba_engine.problem())
    return request.param


@pytest.fixture(scope="module")
def jieba():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its import warns of is not the subject here
        import jieba
    logging.getLogger("jieba").setLevel(logging.WARNING)
    return jieba


def jieba_words(engine, mode, hmm, text):
    if mode == "search":
        return engine.lcut_for_search(text, HMM=hmm)
    return engine.lcut(text, cut_all=mode == "all", HMM=hmm)


@pytest.fixture(scope="module")
def headlines(shared_data):
    with open(shared_data / "thucnews_headlines" / "valid.csv", encoding="utf-8") as file:
        return [row["text"] for row in itertools.islice(csv.DictReader(file), 1_000)]


@pytest.fixture
def dictionary_file(tmp_path):
    path = tmp_path / "words.txt"
    lines = "\ufeff云计算实验室\n台中文创 3\r\n\n凱特琳 nz\n杭研大厦 5 n\n带 空格 7 x\n无换行"
    path.write_bytes(lines.encode())
    return path


@pytest.mark.parametrize("hmm", [True, False])
@pytest.mark.parametrize("mode", ["cut", "all", "search"])
def test_words_are_jiebas_in_every_mode(jieba, mode, hmm):
    expected = [jieba_words(jieba, mode, hmm, text) for text in TEXTS]
    assert JiebaTokenizer(mode, hmm, keep_blanks=True).segment(TEXTS) == expected
    without_blanks = [[word for word in words if word.strip()] for words in expected]
    assert JiebaTokenizer(mode, hmm).segment(TEXTS) == without_blanks


@pytest.mark.parametrize("mode", ["cut", "all", "search"])
def test_words_of_real_headlines_are_jiebas(jieba, headlines, mode):
    expected = [jieba_words(jieba, mode, True, text) for text in headlines]
    assert JiebaTokenizer(mode, keep_blanks=True).segment(headlines) == expected


@pytest.mark.parametrize("mode", ["cut", "all", "search"])
def test_long_texts_with_marks_or_blanks_are_cut_as_by_jieba(jieba, mode):
    text = ("我来到北京清华大学，\r\nabc " * 600) + "小明" * 2_000 + "。" * 6_000 + " " * 6_000
    assert len(text) > 20_000
    found = JiebaTokenizer(mode, keep_blanks=True).segment([text])
    assert found == [jieba_words(jieba, mode, True, text)]


def test_an_unbroken_run_takes_linear_time():
    text = "差" * 60_000 + "，好"  # 8 to 15 seconds for jieba
    start = time.process_time()
    [words] = JiebaTokenizer().segment([text])
    assert time.process_time() - start < 5
    assert "".join(words) == text


def test_user_dictionary_file_is_read_as_by_jieba(jieba, dictionary_file, path):
    reference = jieba.Tokenizer()
    with open(dictionary_file, "rb") as file:  # given a path, jieba leaves the file open
        reference.load_userdict(file)
    tokenizer = JiebaTokenizer(user_dictionary=dictionary_file)
    texts = [*TEXTS, "李小福在云计算实验室", "台中文创和凱特琳", "带 空格无换行"]
    assert tokenizer.segment(texts) == [
        [word for word in reference.lcut(text) if word.strip()] for text in texts
    ]
    # Frequencies that jieba computed itself, and tags, are the same too.
    engine = tokenizer._native_engine if path == "native" else tokenizer._engine
    frequency_of = engine.frequency if path == "native" else engine.FREQ.get
    for word in ("云计算实验室", "台中文创", "凱特琳", "杭研大厦", "带 空格", "无换行"):
        assert frequency_of(word) == reference.FREQ[word]
    assert engine.total == reference.total
    if path == "jieba":
        assert engine.user_word_tag_tab == reference.user_word_tag_tab


def test_user_words_in_a_list_are_added_as_by_jieba(jieba):
    reference = jieba.Tokenizer()
    reference.add_word("云计算实验室")
    reference.add_word("台中文创", 3)
    reference.add_word("凱特琳", None, "nz")
    reference.add_word("杭研大厦", 5, "n")
    texts = ["李小福在云计算实验室", "他来到了网易杭研大厦", "台中文创和凱特琳"]
    tokenizer = JiebaTokenizer(user_dictionary=WORDS)
    assert tokenizer.segment(texts) == list(map(reference.lcut, texts))
    assert "云计算实验室" in tokenizer.segment(texts)[0]


def test_user_words_stay_with_their_tokenizer(jieba):
    text = "李小福在云计算实验室"
    JiebaTokenizer(user_dictionary=WORDS).segment([text])
    assert JiebaTokenizer().segment([text]) == [jieba.lcut(text)]


def test_words_added_to_jieba_itself_change_nothing(jieba):
    text = "小绿鲸读书会"
    before = JiebaTokenizer().segment([text])
    jieba.add_word(text)
    try:
        assert jieba.lcut(text) == [text]
        assert JiebaTokenizer().segment([text]) == before
    finally:
        jieba.dt.FREQ[text] = 0  # not del_word, which also marks the word for ever


def test_frequencies_beyond_what_the_native_library_counts_are_jiebas(jieba):
    reference = jieba.Tokenizer()
    reference.add_word("来到北京", 10**40)
    tokenizer = JiebaTokenizer(user_dictionary=[("来到北京", 10**40)])
    text = "我来到北京清华大学"
    assert tokenizer.segment([text]) == [reference.lcut(text)]


def test_tokenizers_without_user_words_share_one_dictionary(path):
    first, second = JiebaTokenizer(), JiebaTokenizer("search", hmm=False)
    first.segment([""]), second.segment([""])
    engine = "_native_engine" if path == "native" else "_engine"
    assert getattr(first, engine) is getattr(second, engine) is not None


def test_config_carries_the_words_and_needs_no_file(dictionary_file):
    tokenizer = JiebaTokenizer("search", False, dictionary_file, True)
    config = json.loads(json.dumps(tokenizer.get_config()))
    dictionary_file.unlink()
    again = JiebaTokenizer.from_config(config)
    assert again.get_config() == tokenizer.get_config()
    texts = [*TEXTS, "李小福在云计算实验室"]
    assert again.segment(texts) == tokenizer.segment(texts)


def test_tokenizers_can_be_pickled_and_copied_after_use():
    tokenizer = JiebaTokenizer()
    expected = tokenizer.segment(TEXTS)
    for again in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert again.segment(TEXTS) == expected


def test_detokenize_with_blanks_kept_gives_the_text_back():
    tokenizer = JiebaTokenizer(keep_blanks=True)
    assert [tokenizer.detokenize(words) for words in tokenizer.segment(TEXTS)] == TEXTS


def test_detokenize_puts_blanks_between_latin_words_only():
    tokenizer = JiebaTokenizer()
    texts = ["我用Keras 3和TensorFlow训练模型", "New York Times说，100% pure", "好 的"]
    found = [tokenizer.detokenize(words) for words in tokenizer.segment(texts)]
    assert found == [*texts[:2], "好的"]


@pytest.mark.parametrize("texts", ["一个文本", b"bytes"])
def test_a_lone_str_is_refused(texts):
    with pytest.raises(TypeError, match=r"single (str|bytes).*\[text\]"):
        JiebaTokenizer().segment(texts)


@pytest.mark.parametrize("wrong", [None, float("nan"), 7, b"x"])
def test_an_item_that_is_no_str_is_named(wrong):
    with pytest.raises(TypeError, match=rf"texts\[1\] .* is {type(wrong).__name__}"):
        JiebaTokenizer().segment(["好", wrong])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "full"}, "mode='full'"),
        ({"hmm": 1}, "hmm=1"),
        ({"keep_blanks": None}, "keep_blanks=None"),
        ({"user_dictionary": [""]}, r"user_dictionary\[0\]"),
        ({"user_dictionary": ["好", ("词", "3")]}, r"user_dictionary\[1\]"),
        ({"user_dictionary": [("词", -1)]}, r"user_dictionary\[0\]"),
        ({"user_dictionary": [("词", 1, "n", 2)]}, r"user_dictionary\[0\]"),
        ({"user_dictionary": [()]}, r"user_dictionary\[0\]"),
        ({"user_dictionary": [7]}, r"user_dictionary\[0\]"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        JiebaTokenizer(**arguments)


def test_a_missing_dictionary_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"no file '云计算'.*as a list"):
        JiebaTokenizer(user_dictionary="云计算")


def test_a_dictionary_file_that_is_not_utf8_is_refused_with_the_line(tmp_path):
    path = tmp_path / "gbk.txt"
    path.write_bytes("word\n云计算\n".encode("gbk"))
    with pytest.raises(ValueError, match=r"gbk\.txt, line 2: .* UTF-8"):
        JiebaTokenizer(user_dictionary=path)
