"""Batches: contents against plain Python, order, buckets, epochs, weights."""

import collections
import time

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from kerasllm.data import class_weights, make_batches, make_prediction_batches

tf = pytest.importorskip("tensorflow")


def make_sequences(count, longest=40, seed=0):
    generator = np.random.default_rng(seed)
    return [
        generator.integers(1, 30_000, length).tolist()
        for length in generator.integers(0, longest + 1, count)
    ]


def read(dataset):
    return list(dataset.as_numpy_iterator())


def rows_of(token_ids, pad_id=0):
    """The sequences of a batch without their padding; none of them holds the pad id."""
    return [tuple(row[row != pad_id]) for row in token_ids]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("pad_id", [0, -1, 7])
@pytest.mark.parametrize("length_multiple", [1, 8])
def test_batches_in_order_equal_padding_by_hand(count, pad_id, length_multiple):
    sequences = make_sequences(count)
    batches = read(make_batches(sequences, pad_id=pad_id, length_multiple=length_multiple))
    for number, token_ids in enumerate(batches):
        expected = sequences[64 * number : 64 * number + 64]
        length = max(1, *map(len, expected), 1)
        length += -length % length_multiple
        padded = [row + [pad_id] * (length - len(row)) for row in expected]
        assert token_ids.dtype == np.int32
        assert token_ids.tolist() == padded
    assert sum(map(len, batches)) == count


@pytest.mark.parametrize(
    "convert",
    [list, tuple, np.array, lambda s: np.array(s, np.uint16), lambda s: list(np.array(s, int))],
)
def test_sequences_may_be_lists_or_arrays(convert):
    sequences = [[1, 2, 3], [4], [5, 6]]
    converted = [convert(sequence) for sequence in sequences]
    assert rows_of(read(make_batches(converted))[0]) == [(1, 2, 3), (4,), (5, 6)]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_remainder", [False, True])
@pytest.mark.parametrize("count", [32, 33, 100, 127])
def test_cardinality_is_the_number_of_batches(shuffle, drop_remainder, count):
    dataset = make_batches(
        make_sequences(count),
        np.zeros(count, int),
        batch_size=32,
        shuffle=shuffle,
        drop_remainder=drop_remainder,
    )
    expected = count // 32 if drop_remainder else -(-count // 32)
    sizes = [len(labels) for _, labels in read(dataset)]
    assert dataset.cardinality() == len(sizes) == expected
    assert sizes[:-1] == [32] * (expected - 1)


def test_element_specs_are_known():
    dataset = make_batches([[1], [2]], [0, 1], sample_weights=[0.5, 1.0], shuffle=True)
    token_ids, labels, weights = dataset.element_spec
    assert (token_ids.shape.as_list(), token_ids.dtype) == ([None, None], tf.int32)
    assert (labels.shape.as_list(), labels.dtype) == ([None], tf.int32)
    assert (weights.shape.as_list(), weights.dtype) == ([None], tf.float32)
    assert make_batches([[1]]).element_spec.shape.as_list() == [None, None]


@pytest.mark.parametrize("boundaries", [None, [5, 10, 20]])
def test_a_shuffled_epoch_holds_every_row_once_with_its_label_and_weight(boundaries):
    sequences = [[row + 1, *sequence] for row, sequence in enumerate(make_sequences(150))]
    labels = np.arange(150)
    dataset = make_batches(
        sequences,
        labels,
        batch_size=16,
        shuffle=True,
        sample_weights=labels / 4,
        bucket_boundaries=boundaries,
    )
    seen = collections.Counter()
    for token_ids, batch_labels, weights in read(dataset):
        for row, label, weight in zip(rows_of(token_ids), batch_labels, weights, strict=True):
            assert row == tuple(sequences[label])
            assert weight == label / 4
            seen[int(label)] += 1
    assert seen == collections.Counter(range(150))


def test_every_epoch_has_a_new_order_from_the_seed_alone():
    def epochs(seed, number=3):
        dataset = make_batches(sequences, labels, batch_size=8, shuffle=True, seed=seed)
        return [[batch.tolist() for _, batch in read(dataset)] for _ in range(number)]

    sequences, labels = make_sequences(100), np.arange(100)
    first, again, other = epochs(1), epochs(1), epochs(2)
    assert first == again
    assert first[0] != first[1] != first[2] != first[0]
    assert first[0] != other[0]


def test_repeat_counts_epochs_too():
    dataset = make_batches(make_sequences(20), np.arange(20), batch_size=20, shuffle=True)
    first, second = (labels.tolist() for _, labels in read(dataset.repeat(2)))
    assert first != second
    assert sorted(first) == sorted(second)


def test_bucketing_leaves_little_padding():
    sequences = [[1] * length for length in np.random.default_rng(0).integers(1, 400, 5000)]
    tokens = sum(map(len, sequences))

    def share_of_padding(**arguments):
        batches = read(make_batches(sequences, batch_size=32, **arguments))
        return 1 - tokens / sum(batch.size for batch in batches)

    assert share_of_padding() > 0.4
    assert share_of_padding(shuffle=True) < 0.06
    assert share_of_padding(shuffle=True, bucket_boundaries=[100, 200, 300]) < 0.25


def test_bucket_boundaries_keep_texts_of_other_buckets_apart():
    sequences = [[1] * length for length in [3, 4] * 40 + [5, 9] * 40 + [10, 30] * 40]
    batches = read(make_batches(sequences, batch_size=16, shuffle=True, bucket_boundaries=[4, 9]))
    buckets = [np.searchsorted([4, 9], (batch != 0).sum(axis=1)) for batch in batches]
    assert all(len(set(bucket)) == 1 for bucket in buckets)
    assert len({int(bucket[0]) for bucket in buckets}) == 3


def test_the_rows_dropped_are_drawn_at_random_not_the_longest():
    sequences = [[1] * (row + 1) for row in range(100)]
    dataset = make_batches(sequences, range(100), batch_size=30, shuffle=True, drop_remainder=True)
    dropped = []
    for _ in range(20):
        kept = {int(label) for _, labels in read(dataset) for label in labels}
        assert len(kept) == 90
        dropped += set(range(100)) - kept
    assert 30 < np.mean(dropped) < 70


def test_empty_sequences_become_rows_of_padding():
    (token_ids,) = read(make_batches([[], []], pad_id=3))
    assert token_ids.tolist() == [[3] * 8] * 2


@pytest.mark.parametrize("count", [1, 5, 130])
def test_predictions_come_back_in_the_order_given(count):
    import keras

    sequences = make_sequences(count)
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, keras.ops.sum(inputs, axis=1, keepdims=True))
    dataset, order = make_prediction_batches(sequences, batch_size=32)
    predictions = model.predict(dataset, verbose=0)[order]
    assert predictions[:, 0].tolist() == [sum(sequence) for sequence in sequences]
    lengths = [int((batch != 0).sum(axis=1).max()) for batch in read(dataset)]
    assert lengths == sorted(lengths)


@pytest.mark.parametrize(
    ("sequences", "arguments", "error", "message"),
    [
        ([], {}, ValueError, "no sequences"),
        ([[1.5]], {}, TypeError, "ints"),
        ([np.array([1.5])], {}, TypeError, "ints"),
        (["文字"], {}, TypeError, "ints"),
        ([[2**31]], {}, ValueError, "32 bits"),
        ([np.array([2**31])], {}, ValueError, "32 bits"),
        ([[1], [2]], {"labels": [0]}, ValueError, r"shape \(2,\)"),
        ([[1], [2]], {"labels": [0.0, 1.0]}, ValueError, "labels should be int32"),
        ([[1], [2]], {"labels": [[0], [1]]}, ValueError, "labels"),
        ([[1], [2]], {"labels": ["甲", "乙"]}, ValueError, "labels"),
        ([[1]], {"labels": [0], "sample_weights": [1, 2]}, ValueError, "sample_weights"),
        ([[1]], {"sample_weights": [1]}, ValueError, "need labels"),
        ([[1]], {"batch_size": 0}, ValueError, "batch_size"),
        ([[1]], {"length_multiple": 0}, ValueError, "length_multiple"),
        ([[1]], {"drop_remainder": True}, ValueError, "leaves nothing"),
        ([[1]], {"bucket_boundaries": [4]}, ValueError, "shuffle=True"),
    ],
)
def test_what_cannot_be_batched_is_an_error(sequences, arguments, error, message):
    with pytest.raises(error, match=message):
        make_batches(sequences, **arguments)


@pytest.mark.parametrize("seed", range(5))
def test_class_weights_equal_those_of_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    num_classes = int(generator.integers(2, 12))
    skew = generator.dirichlet(np.ones(num_classes))
    labels = np.concatenate([np.arange(num_classes), generator.choice(num_classes, 200, p=skew)])
    expected = compute_class_weight("balanced", classes=np.arange(num_classes), y=labels)
    weights = class_weights(labels, num_classes)
    assert list(weights) == list(range(num_classes))
    np.testing.assert_allclose(list(weights.values()), expected, rtol=1e-12)


def test_class_weights_of_absent_classes_are_zero():
    labels = [0, 0, 0, 2]
    expected = compute_class_weight("balanced", classes=np.array([0, 2]), y=labels)
    assert class_weights(labels, 4) == pytest.approx({0: expected[0], 1: 0, 2: expected[1], 3: 0})


@pytest.mark.parametrize("labels", [[], [0, 3], [-1, 0], [0.5, 1.0], ["甲"]])
def test_labels_out_of_range_are_an_error(labels):
    with pytest.raises(ValueError, match="labels should be"):
        class_weights(labels, 3)


def test_an_epoch_of_fifty_thousand_rows_takes_about_a_second():
    sequences = make_sequences(54_000)
    dataset = make_batches(sequences, np.zeros(54_000, int), shuffle=True)
    start = time.perf_counter()
    batches = sum(1 for _ in dataset)
    seconds = time.perf_counter() - start
    assert batches == 844
    assert seconds < 5  # 0.4 s on one idle core; the bound leaves room for a busy machine


def test_first_epoch_continues_the_order_of_a_longer_run():
    sequences = [[number] for number in range(1, 40)]
    whole = make_batches(sequences, batch_size=4, shuffle=True, seed=3)
    resumed = make_batches(sequences, batch_size=4, shuffle=True, seed=3, first_epoch=2)
    epochs = [[batch.numpy().tolist() for batch in whole] for _ in range(3)]
    assert [batch.numpy().tolist() for batch in resumed] == epochs[2]
    assert epochs[2] != epochs[0]


def test_batches_of_dicts_are_padded_together_and_have_a_mask():
    ids = [[5, 6, 7], [8], [9, 10]]
    segments = [[0, 0, 1], [0], [1, 1]]
    batches = make_batches(
        {"token_ids": ids, "segment_ids": segments}, [0, 1, 2], batch_size=2, length_multiple=2
    )
    (first, labels), (second, _) = batches.as_numpy_iterator()
    assert first["token_ids"].tolist() == [[5, 6, 7, 0], [8, 0, 0, 0]]
    assert first["segment_ids"].tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]
    assert first["padding_mask"].tolist() == [[True, True, True, False], [True, *[False] * 3]]
    assert labels.tolist() == [0, 1]
    assert second["token_ids"].tolist() == [[9, 10]]
    assert second["padding_mask"].tolist() == [[True, True]]


def test_batches_of_dicts_are_bucketed_by_length_and_sorted_for_predictions():
    random = np.random.default_rng(0)
    ids = [[index + 1] * random.integers(1, 40) for index in range(200)]
    rows = {"token_ids": ids, "segment_ids": ids}
    seen = 0
    for batch in make_batches(rows, batch_size=8, shuffle=True).as_numpy_iterator():
        mask = batch["padding_mask"]
        np.testing.assert_array_equal(batch["segment_ids"], batch["token_ids"])
        np.testing.assert_array_equal(mask, batch["token_ids"] != 0)
        seen += mask.sum()
    assert seen == sum(map(len, ids))
    dataset, order = make_prediction_batches(rows, batch_size=8)
    firsts = np.concatenate([batch["token_ids"][:, 0] for batch in dataset.as_numpy_iterator()])
    assert firsts[order].tolist() == list(range(1, 201))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"segment_ids": [[1]]}, "a dict of sequences should have token_ids"),
        ({"token_ids": [[1]], "padding_mask": [[1]]}, "and no padding_mask, which is made here"),
        ({"token_ids": [[1], [2]], "segment_ids": [[1], [2, 3]]}, "segment_ids should be as long"),
    ],
)
def test_dicts_that_make_no_sense_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        make_batches(rows)
