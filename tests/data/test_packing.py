"""Packed rows: every token once an epoch, no padding, the same rows from any step on."""

import itertools
import tracemalloc

import numpy as np
import pytest

from kerasllm.data import LanguageModelRows, PackedRows, TokenCache


def make_cache(lengths):
    """Documents whose tokens tell which document and place they are: 0, then 100 * n + place."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    documents = [
        [0, *(100 * (number + 1) + np.arange(1, length))] for number, length in enumerate(lengths)
    ]
    token_ids = np.concatenate(documents).astype(np.int32)
    return TokenCache({"token_ids": token_ids}, starts, len(lengths), 0, 0, "", None)


LENGTHS = [5, 9, 2, 30, 7, 1, 12, 8, 8, 3, 40, 6]


def test_epoch_has_nearly_every_token_once():
    rows = PackedRows(np.concatenate([[0], np.cumsum(LENGTHS)]), length=8, seed=3)
    places, _ = rows.places(0, rows.rows_per_epoch)
    counts = np.bincount(places.ravel(), minlength=sum(LENGTHS))
    assert counts.max() == 1
    assert counts.sum() >= sum(LENGTHS) - 2 * 8  # what the first row's place leaves out


def test_rows_are_whole_pieces_of_documents_in_order():
    cache = make_cache(LENGTHS)
    inputs = LanguageModelRows(cache, length=8, seed=1)(0, 50)
    assert inputs["token_ids"].shape == inputs["labels"].shape == (50, 8)
    np.testing.assert_array_equal(inputs["token_ids"][:, 1:], inputs["labels"][:, :-1])
    for tokens, documents in zip(inputs["token_ids"], inputs["segment_ids"], strict=True):
        assert documents[0] == 0
        # A document begins at its end token and nowhere else.
        np.testing.assert_array_equal(np.diff(documents), tokens[1:] == 0)
        inside = tokens[1:] != 0
        np.testing.assert_array_equal((tokens[1:] - tokens[:-1])[inside & (tokens[:-1] != 0)], 1)


def test_rows_do_not_depend_on_how_they_are_asked_for():
    rows = LanguageModelRows(make_cache(LENGTHS), length=8, seed=1)
    whole = rows(0, 60)  # several epochs
    again = LanguageModelRows(make_cache(LENGTHS), length=8, seed=1)
    parts = [again(first, count) for first, count in ((0, 7), (7, 1), (8, 40), (48, 12))]
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)


def test_epochs_and_seeds_differ():
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    rows = PackedRows(starts, length=8, seed=1)
    count = rows.rows_per_epoch
    first, second = rows.places(0, count)[0], rows.places(count, count)[0]
    assert (first != second).any()
    assert (PackedRows(starts, length=8, seed=2).places(0, count)[0] != first).any()


def test_order_follows_from_raw_bits_that_numpy_keeps():
    """NumPy may change its permutations with any version; a run must go on all the same."""
    starts = [0, 3, 8, 10, 16, 27]
    rows = PackedRows(starts, length=4, overlap=1, seed=7)
    assert rows.rows_per_epoch == (27 - 3 - 1) // 4
    places, documents = rows.places(rows.rows_per_epoch, 2)  # of the second epoch

    bits = np.random.Philox(key=[7, 1])
    raw = [int(number) for number in bits.random_raw(11)]
    order = sorted(range(5), key=lambda document: raw[document])
    stream = [(d, place) for d in order for place in range(starts[d], starts[d + 1])]
    row_order = sorted(range(5), key=lambda row: raw[6 + row])
    for row in range(2):
        begin = raw[5] % 4 + 4 * row_order[row]
        expected = stream[begin : begin + 5]
        assert places[row].tolist() == [place for _, place in expected]
        changes = [expected[0][0], *(document for document, _ in expected)]
        borders = np.cumsum([a != b for a, b in itertools.pairwise(changes)])
        assert documents[row].tolist() == borders.tolist()


def test_batch_does_not_go_through_all_documents_again():
    """The arrays over documents are made with the epoch, not with each of its batches."""
    documents = 200_000
    rows = PackedRows(np.arange(documents + 1) * 10, length=64, overlap=1, seed=0)
    rows.places(0, 8)
    tracemalloc.start()
    rows.places(8, 8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < documents  # an int64 for each document would take eight times this


def test_corpus_shorter_than_a_row_is_repeated():
    inputs = LanguageModelRows(make_cache([4]), length=16, seed=0)(0, 20)
    assert inputs["token_ids"].shape == (20, 16)
    assert set(inputs["token_ids"].ravel().tolist()) == {0, 101, 102, 103}
    rows = LanguageModelRows(make_cache([4, 3]), length=16, seed=0)
    assert rows.packed.rows_per_epoch >= 4


def test_row_without_length_or_tokens_is_refused():
    with pytest.raises(ValueError, match="length is 0"):
        PackedRows([0, 3], length=0)
    with pytest.raises(ValueError, match="no tokens"):
        PackedRows([0], length=4)
