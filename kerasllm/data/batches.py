"""Batches of token ids that are as long as their longest text, and weights for uneven classes."""

import array
import itertools

import numpy as np


def make_batches(
    sequences,
    labels=None,
    batch_size=64,
    shuffle=False,
    seed=0,
    pad_id=0,
    bucket_boundaries=None,
    drop_remainder=False,
    sample_weights=None,
    length_multiple=8,
    first_epoch=0,
):
    """Makes a `tf.data.Dataset` of padded batches.

    A batch is as long as its longest sequence, rounded up to a multiple of `length_multiple`, so
    that functions traced or compiled for fixed shapes meet few of them. Without `shuffle` the
    batches hold the sequences in the order given. With `shuffle` every epoch (every new iterator of
    the dataset) has a new order, which depends on the seed and the number of the epoch alone:
    sequences are shuffled, put in buckets by length, cut into batches, and the batches shuffled.
    The rows that do not fill a batch are drawn at random too; they make the last batch.

    Examples:
        >>> train = make_batches(train_ids, train_labels, batch_size=64, shuffle=True)
        >>> model.fit(train, validation_data=make_batches(valid_ids, valid_labels), epochs=5)

    What a BERT takes, with the segments of pairs of texts:

        >>> make_batches({"token_ids": ids, "segment_ids": segments}, labels, shuffle=True)

    Args:
        sequences: The token ids: a list of lists or arrays of ints, of any lengths. Or a dict of
            `token_ids` and others that are as long, such as `segment_ids`.
        labels: (rows,), ints; `None` for batches without labels.
        batch_size: Number of sequences in a batch.
        shuffle: Whether to shuffle and to bucket by length.
        seed: An int from 0.
        pad_id: The id that fills up short sequences, at their ends; 0 does so for others than
            token ids.
        bucket_boundaries: Increasing lengths; sequences longer than one and not longer than the
            next share a bucket. By default every multiple of `length_multiple`, which pads least.
            Only with `shuffle`, as bucketing changes the order.
        drop_remainder: Whether to leave out the last batch if it is not full.
        sample_weights: (rows,), floats; the dataset then gives them as a third element.
        length_multiple: Lengths of batches are multiples of this.
        first_epoch: Number of the first epoch that the dataset gives: what a resumed run sets so
            that its order is that of a run that was never interrupted.

    Returns:
        A `tf.data.Dataset` with known cardinality. Its elements are `token_ids`, int32 of
        `(batch, length)`; with labels `(token_ids, labels)`, the latter int32 of `(batch,)`; with
        weights also `sample_weights`, float32 of `(batch,)`. Of a dict of sequences, the first is a
        dict too, which has a `padding_mask` beside them, bool `(batch, length)`: false at padding.

    Raises:
        ValueError: If there are no sequences, if those of a dict differ in length, if labels or
            weights are not one per sequence, or if an option makes no sense.
        TypeError: If a sequence holds something other than ints.
    """
    import tensorflow as tf

    for name, value in (("batch_size", batch_size), ("length_multiple", length_multiple)):
        if value < 1:
            raise ValueError(f"{name} should be 1 or more, not {value}.")
    if bucket_boundaries is not None and not shuffle:
        raise ValueError(
            "bucket_boundaries change the order of the rows: they need shuffle=True (for "
            "predictions see make_prediction_batches)."
        )
    if sample_weights is not None and labels is None:
        raise ValueError("sample_weights need labels.")
    others = {}
    if isinstance(sequences, dict):
        ids, others, starts, lengths = _flatten_dict(sequences)
    else:
        ids, starts, lengths = _flatten(sequences)
    columns = []
    if labels is not None:
        columns.append(_column("labels", labels, len(lengths), "iu", np.int32))
    if sample_weights is not None:
        columns.append(_column("sample_weights", sample_weights, len(lengths), "iuf", np.float32))
    if bucket_boundaries is None:
        buckets = -(-lengths // length_multiple)
    else:
        buckets = np.searchsorted(bucket_boundaries, lengths)
    num_batches = len(lengths) // batch_size
    if len(lengths) % batch_size and not drop_remainder:
        num_batches += 1
    if not num_batches:
        raise ValueError(
            f"{len(lengths)} sequences do not fill one batch of {batch_size}, and "
            "drop_remainder=True leaves nothing."
        )
    epochs = itertools.count(first_epoch)

    def generate():
        epoch = next(epochs)
        if shuffle:
            batches = _shuffled_batches(buckets, batch_size, np.random.default_rng((seed, epoch)))
        else:
            batches = np.split(
                np.arange(len(lengths)), np.arange(batch_size, len(lengths), batch_size)
            )
        for rows in batches[:num_batches]:
            places = starts[rows], lengths[rows]
            inputs = _pad(ids, *places, pad_id, length_multiple)
            if isinstance(sequences, dict):
                mask = np.arange(inputs.shape[1]) < lengths[rows][:, None]
                inputs = {"token_ids": inputs, "padding_mask": mask}
                for name, values in others.items():
                    inputs[name] = _pad(values, *places, 0, length_multiple)
            yield (inputs, *(column[rows] for column in columns)) if columns else inputs

    spec = tf.TensorSpec((None, None), tf.int32)
    if isinstance(sequences, dict):
        mask = tf.TensorSpec((None, None), tf.bool)
        spec = {"token_ids": spec, "padding_mask": mask, **dict.fromkeys(others, spec)}
    signature = [spec]
    signature += [tf.TensorSpec((None,), column.dtype) for column in columns]
    dataset = tf.data.Dataset.from_generator(
        generate, output_signature=tuple(signature) if columns else signature[0]
    )
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_batches))
    return dataset.prefetch(tf.data.AUTOTUNE)


def make_prediction_batches(sequences, batch_size=64, pad_id=0, length_multiple=8):
    """Makes batches of sequences sorted by length, and the order that undoes the sorting.

    Sorted by length, texts are hardly padded at all, which makes predicting fast.

    Examples:
        >>> dataset, order = make_prediction_batches(token_ids)
        >>> probabilities = model.predict(dataset)[order]  # in the order of `token_ids`

    Args:
        sequences: The token ids: a list of lists or arrays of ints; or a dict, as in
            `make_batches`.
        batch_size: Number of sequences in a batch.
        pad_id: The id that fills up short sequences, at their ends.
        length_multiple: Lengths of batches are multiples of this.

    Returns:
        A tuple `(dataset, order)`: a `tf.data.Dataset` of `token_ids`, int32 of `(batch, length)`,
        or of dicts, and an int array of `(rows,)`.

    Raises:
        ValueError: If there are no sequences.
        TypeError: If a sequence holds something other than ints.
    """
    named = sequences if isinstance(sequences, dict) else {"token_ids": sequences}
    by_length = np.argsort([len(sequence) for sequence in named["token_ids"]], kind="stable")
    order = np.empty_like(by_length)
    order[by_length] = np.arange(len(by_length))
    ordered = {name: [values[row] for row in by_length] for name, values in named.items()}
    dataset = make_batches(
        ordered if isinstance(sequences, dict) else ordered["token_ids"],
        batch_size=batch_size,
        pad_id=pad_id,
        length_multiple=length_multiple,
    )
    return dataset, order


def class_weights(labels, num_classes):
    """Weights that make all classes count the same, for `fit(class_weight=...)`.

    The weight of a class is `rows / (classes * rows of the class)`, as in scikit-learn's
    `compute_class_weight("balanced", ...)`; only classes that have rows count as classes.

    Args:
        labels: (rows,), ints from 0 to `num_classes - 1`.
        num_classes: Number of classes.

    Returns:
        A dict of class to weight, for all classes; 0 for those without rows.

    Raises:
        ValueError: If there are no labels or one is out of range.
    """
    labels = np.asarray(labels)
    if labels.size == 0 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels should be ints, one or more, not {labels.size} {labels.dtype}.")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels should be from 0 to {num_classes - 1}, but run from {labels.min()} to "
            f"{labels.max()}."
        )
    counts = np.bincount(labels, minlength=num_classes)
    present = np.count_nonzero(counts)
    return {
        label: float(len(labels) / (present * count)) if count else 0.0
        for label, count in enumerate(counts)
    }


def _flatten(sequences):
    """All ids in one array, and where each sequence starts and how long it is."""
    lengths = np.fromiter(map(len, sequences), np.int64)
    if not len(lengths):
        raise ValueError("there are no sequences to batch.")
    if all(isinstance(sequence, np.ndarray) for sequence in sequences):
        ids = np.concatenate(sequences)
        if ids.dtype.kind not in "iu" and ids.size:
            raise TypeError(f"sequences should hold ints, not {ids.dtype}.")
        if ids.size and (ids.min() < -(2**31) or ids.max() >= 2**31):
            raise ValueError("token ids should fit 32 bits.")
        ids = ids.astype(np.int32)
    else:
        # Unlike NumPy, array.array refuses floats instead of cutting off their fractions.
        try:
            ids = np.array(array.array("i", itertools.chain.from_iterable(sequences)), np.int32)
        except TypeError as error:
            raise TypeError(f"sequences should be lists of token ids (ints): {error}.") from error
        except OverflowError as error:
            raise ValueError("token ids should fit 32 bits.") from error
    return ids, np.cumsum(lengths) - lengths, lengths


def _flatten_dict(sequences):
    """The token ids in one array, a dict of the other sequences, and where each starts and ends."""
    if "token_ids" not in sequences or "padding_mask" in sequences:
        raise ValueError(
            f"a dict of sequences should have token_ids, and no padding_mask, which is made here; "
            f"it has {', '.join(sequences)}."
        )
    ids, starts, lengths = _flatten(sequences["token_ids"])
    others = {}
    for name, values in sequences.items():
        if name != "token_ids":
            others[name], _, found = _flatten(values)
            if not np.array_equal(found, lengths):
                raise ValueError(f"{name} should be as long as token_ids, sequence by sequence.")
    return ids, others, starts, lengths


def _column(name, values, rows, kinds, dtype):
    """Labels or weights as an array of `(rows,)`."""
    values = np.asarray(values)
    if values.shape != (rows,) or values.dtype.kind not in kinds:
        raise ValueError(
            f"{name} should be {np.dtype(dtype).name} of shape ({rows},), one per sequence, not "
            f"{values.dtype} of shape {values.shape}."
        )
    return values.astype(dtype)


def _shuffled_batches(buckets, batch_size, generator):
    """The row numbers of every batch of one epoch; the one that is not full comes last."""
    rows = generator.permutation(len(buckets))
    num_full = len(rows) // batch_size
    full, remainder = rows[: num_full * batch_size], rows[num_full * batch_size :]
    # A few batches straddle two buckets, so that only one batch of the epoch is not full.
    full = full[np.argsort(buckets[full], kind="stable")].reshape(num_full, batch_size)
    batches = list(generator.permutation(full))
    return [*batches, remainder] if len(remainder) else batches


def _pad(ids, starts, lengths, pad_id, length_multiple):
    """Gathers sequences into one padded array of `(batch, length)`."""
    longest = max(1, lengths.max())
    columns = np.arange(-(-longest // length_multiple) * length_multiple)
    inside = columns < lengths[:, None]  # (batch, length)
    padded = np.full(inside.shape, pad_id, np.int32)
    padded[inside] = ids[(starts[:, None] + columns)[inside]]
    return padded
