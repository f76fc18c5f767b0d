"""Copies of texts: what changes, and what must not."""

import random
import re

import pytest

from kerasllm.text import BackTranslation, CharTokenizer, TextAugmenter
from kerasllm.text.augmentation import OPERATIONS, WORD_LISTS, entities

TEXTS = [
    "老板非常热情，味道很好，下次还来购买，推荐给朋友",
    "等了2个小时，电话[PHONE]打不通，iPhone15 Pro 都没电了",
    "三百元的套餐，送货员态度差劲，米饭是冷的，分量也少",
    "虽然价格便宜，但是质量不行，客服没有道歉",
    "房间干净，环境安静，服务员热心，早餐丰富",
]


def words_of(name):
    lines = (WORD_LISTS / name).read_text(encoding="utf-8").splitlines()
    return [line.split() for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("operations", [OPERATIONS, *((name,) for name in OPERATIONS)])
def test_copies_follow_from_text_and_seed_alone(operations):
    augment = TextAugmenter(0.3, operations)
    copies = augment(TEXTS, seed=1)
    assert copies == TextAugmenter(0.3, operations)(TEXTS, seed=1)
    assert augment(TEXTS[::-1], seed=1) == copies[::-1]
    assert augment(TEXTS[2:3], seed=1) == copies[2:3]
    assert any(augment(TEXTS, seed=seed) != copies for seed in range(2, 6))
    assert copies != TEXTS


def test_entities_and_negations_are_never_touched():
    augment = TextAugmenter(1.0)
    for seed in range(50):
        for text, copy in zip(TEXTS, augment(TEXTS, seed=seed), strict=True):
            assert entities(copy) == entities(text)
            for kept in ("2个", "[PHONE]", "iPhone15 Pro", "三百", "不通", "不行", "没", "没有"):
                assert copy.count(kept) == text.count(kept), (seed, copy)
            marks = re.compile("[^\u4e00-\u9fff]+")
            assert "".join(marks.findall(copy)) == "".join(marks.findall(text))


def test_entities_survive_wherever_they_stand():
    generator = random.Random(0)
    augment = TextAugmenter(0.8)
    pieces = [
        "味道很好",
        "[EMAIL]",
        "3.5折",
        "价格便宜",
        "USB-C",
        "两百",
        "，",
        "送餐迅速",
        "12:30",
    ]
    for seed in range(100):
        text = "".join(generator.choices(pieces, k=8))
        assert entities(augment([text], seed=seed)[0]) == entities(text)


def test_synonyms_come_from_the_words_group():
    groups = {word: set(group) for group in words_of("synonyms.txt") for word in group}
    copies = {
        copy for seed in range(20) for copy in TextAugmenter(1.0, ["synonym"])(["电影精彩"], seed)
    }
    assert len(copies) == 2  # two other words for the one, one for the other
    assert all(copy[:-2] in groups["电影"] and copy[-2:] in groups["精彩"] for copy in copies)


def test_homophones_change_one_character_of_a_word():
    groups = {character: set(group) for group in words_of("homophones.txt") for character in group}
    for seed in range(20):
        copy = TextAugmenter(0.01, ["homophone"])(["味道很好"], seed)[0]
        changed = [(a, b) for a, b in zip("味道很好", copy, strict=True) if a != b]
        assert len(changed) <= 1
        assert all(b in groups[a] for a, b in changed)


def test_deletion_leaves_a_word():
    for seed in range(20):
        copies = TextAugmenter(1.0, ["delete"])(["味道很好", "好", "推荐给朋友"], seed)
        assert all(copies) and copies[1] == "好"
        assert set(copies[0]) < set("味道很好")


def test_swaps_keep_all_words():
    copies = TextAugmenter(1.0, ["swap"])(TEXTS, seed=3)
    assert copies != TEXTS
    assert [sorted(copy) for copy in copies] == [sorted(text) for text in TEXTS]


def test_the_rate_is_the_share_of_words():
    text = "房间干净环境安静服务员热心早餐丰富价格便宜" * 5
    removed = [
        len(text) - len(TextAugmenter(rate, ["delete"])([text])[0]) for rate in (0.1, 0.2, 0.4)
    ]
    assert removed[0] < removed[1] < removed[2]
    assert removed[2] / len(text) == pytest.approx(0.4, abs=0.08)


@pytest.mark.parametrize("text", ["", "12:30", "[PHONE]", "OK!", "三百", "不", " ", "\ud800😀"])
def test_texts_without_words_come_back_as_they_are(text):
    assert TextAugmenter(1.0)([text]) == [text]


def test_another_tokenizer_may_cut():
    copies = TextAugmenter(1.0, ["swap"], tokenizer=CharTokenizer())(["房间干净"], seed=2)
    assert sorted(copies[0]) == sorted("房间干净")


@pytest.mark.parametrize("name", ["synonyms.txt", "homophones.txt"])
def test_a_word_is_in_one_group(name):
    groups = words_of(name)
    words = [word for group in groups for word in group]
    assert len(groups) > 200 and min(map(len, groups)) > 1
    assert len(words) == len(set(words))
    assert all("\u4e00" <= character <= "\u9fff" for word in words for character in word)
    if name == "homophones.txt":
        assert {len(word) for word in words} == {1}


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="rate is 0"):
        TextAugmenter(0)
    with pytest.raises(ValueError, match="expected some of"):
        TextAugmenter(operations=["insert"])
    with pytest.raises(TypeError, match="single str"):
        TextAugmenter()("好")


def test_back_translation_keeps_the_text_where_entities_got_lost():
    def forward(texts):
        return [text.replace("房间", "room ").replace("2", "two") for text in texts]

    def backward(texts):
        return [text.replace("room ", "屋子").replace("好", "") for text in texts]

    augment = BackTranslation(forward, backward)
    assert augment(["房间干净", "等了2天", "好", ""]) == ["屋子干净", "等了2天", "好", ""]
    with pytest.raises(ValueError, match="gave 1 texts for 2"):
        BackTranslation(lambda texts: texts[:1], backward)(["好", "房间"])


@pytest.mark.parametrize("word", ["三百元", "两天", "第三次", "十二月", "五元"])
def test_a_chinese_number_in_one_word_with_its_unit_stays(word):
    """It was once taken for an ordinary word, and deleted."""
    for seed in range(20):
        assert word in TextAugmenter(1.0)([f"味道很好，{word}，推荐给朋友"], seed)[0]
