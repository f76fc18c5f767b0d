"""Stratified splitting: shares, duplicates on one side, the same on every machine."""

import collections
import json

import numpy as np
import pandas as pd
import pytest

from kerasllm.data import read_table, stratified_split


def make_rows(counts, copies=1):
    """`counts[label]` different texts of every label, each `copies` times with other marks."""
    marks = ["", "！", " 。", "\u3000…"]
    records = [
        (f"{label}的第{number}条评论{marks[copy]}", label)
        for copy in range(copies)
        for label, count in counts.items()
        for number in range(count)
    ]
    return pd.DataFrame(records, columns=["text", "label"])


def sides(parts):
    """The part of every row, by the row's index."""
    return {index: part for part, rows in enumerate(parts) for index in rows.index}


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.1, 0.1), (0.9, 0.1), (0.25, 0.5, 0.25), (1 / 3, 1 / 3, 1 / 3), (1.0,)]
)
def test_every_class_is_split_by_the_fractions(fractions):
    rows = make_rows({"甲": 997, "乙": 120, "丙": 41})
    parts = stratified_split(rows, fractions)
    for label, count in rows["label"].value_counts().items():
        for part, fraction in zip(parts, fractions, strict=True):
            assert abs((part["label"] == label).sum() - fraction * count) <= 1


def test_parts_hold_every_row_once_in_the_order_given():
    rows = make_rows({"甲": 50, "乙": 30}, copies=2).sample(frac=1, random_state=3)
    rows["line"] = np.arange(len(rows))
    parts = stratified_split(rows)
    assert sorted(index for part in parts for index in part.index) == sorted(rows.index)
    for part in parts:
        assert part["line"].is_monotonic_increasing
        pd.testing.assert_frame_equal(part, rows.loc[part.index])


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_are_always_in_one_part(seed):
    rows = make_rows({"甲": 100, "乙": 60}, copies=4)
    # Texts with two labels stay together as well.
    for number in range(20):
        rows.loc[len(rows)] = [f"甲的第{number}条评论", "乙"]
    side = sides(stratified_split(rows, seed=seed))
    plain = rows["text"].str.replace(r"[！ 。\u3000…]", "", regex=True)
    for _, index in plain.groupby(plain).groups.items():
        assert len({side[row] for row in index}) == 1


@pytest.mark.parametrize("seed", range(10))
def test_fractions_are_of_the_rows_however_often_a_text_is_repeated(seed):
    rows = pd.concat([make_rows({"甲": 300}), *[make_rows({"甲": 30})] * 9], ignore_index=True)
    parts = stratified_split(rows, seed=seed)
    for part, fraction in zip(parts, (0.8, 0.1, 0.1), strict=True):
        assert abs(len(part) - fraction * len(rows)) <= 10


def test_the_seed_alone_decides():
    rows = make_rows({"甲": 200, "乙": 100})
    first, again, other = (sides(stratified_split(rows, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    moved = sum(first[index] != other[index] for index in first) / len(first)
    assert 0.2 < moved < 0.5  # 1 - (0.64 + 0.01 + 0.01) = 0.34 by chance


def test_the_order_of_the_rows_does_not_matter():
    rows = make_rows({"甲": 200, "乙": 100, "丙": 7}, copies=2)
    rows.loc[rows.index[::7], "label"] = "丁"  # so that some texts have two labels
    shuffled = rows.sample(frac=1, random_state=0)
    assert sides(stratified_split(rows)) == sides(stratified_split(shuffled))


def test_other_processes_and_hash_seeds_give_the_same_split(run_data_code):
    code = (
        "import pandas as pd; from kerasllm.data import stratified_split;"
        "texts = [f'第{number}条' for number in range(40)];"
        "rows = pd.DataFrame({'text': texts, 'label': ['甲', '乙'] * 20});"
        "print([list(part.index) for part in stratified_split(rows, seed=5)])"
    )
    for hash_seed in ("1", "2"):
        parts = json.loads(run_data_code(code, PYTHONHASHSEED=hash_seed))
        # Frozen: any change would silently change the splits that users have made.
        assert parts[1:] == [[10, 15, 24, 37], [13, 28, 29, 34]]


@pytest.mark.parametrize("count", range(3, 12))
def test_a_class_with_as_many_texts_as_parts_is_in_every_part(count):
    for seed in range(10):
        parts = stratified_split(make_rows({"甲": 50, "小": count}), seed=seed)
        assert all((part["label"] == "小").any() for part in parts)


def test_a_smaller_class_goes_to_the_parts_with_the_largest_fractions():
    rows = make_rows({"甲": 50, "两": 2, "一": 1})
    small, large, middle = stratified_split(rows, (0.1, 0.6, 0.3))
    counts = [collections.Counter(part["label"]) for part in (small, large, middle)]
    assert [count["两"] for count in counts] == [0, 1, 1]
    assert [count["一"] for count in counts] == [0, 1, 0]


def test_rows_without_labels_are_split_at_random():
    rows = make_rows({"甲": 100})[["text"]]
    assert [len(part) for part in stratified_split(rows)] == [80, 10, 10]


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.1), (0.5, 0.6), (1.1, -0.1), (1.0, 0.0), (), (0.5, float("nan"))]
)
def test_fractions_that_do_not_sum_to_one_are_an_error(fractions):
    with pytest.raises(ValueError, match="positive and sum to 1"):
        stratified_split(make_rows({"甲": 10}), fractions)


def test_too_few_texts_are_an_error():
    with pytest.raises(ValueError, match=r"part 1 .* would be empty: 2 different texts"):
        stratified_split(make_rows({"甲": 1, "乙": 1}, copies=4))


def test_rows_without_texts_are_an_error():
    with pytest.raises(ValueError, match="column 'text'"):
        stratified_split(pd.DataFrame({"review": ["好"]}))


def test_real_rows_have_no_text_on_two_sides(shared_data):
    rows, _ = read_table(shared_data / "thucnews_headlines" / "train.csv")
    parts = stratified_split(rows)
    assert [len(part) for part in parts] == pytest.approx([43200, 5400, 5400], abs=20)
    texts = [set(part["text"]) for part in parts]
    assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])
