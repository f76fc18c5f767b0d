"""Averages of weights against NumPy."""

import keras
import numpy as np
import pytest
from regularizer_reference import make_batch, make_model

from kerasllm.training import KeepBest, WeightAverage


class Record(keras.callbacks.Callback):
    """The weights after each batch; and those that validation and the end of an epoch saw."""

    def __init__(self):
        super().__init__()
        self.batches, self.tested, self.ended = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(self.model.get_weights())

    def on_test_begin(self, logs=None):
        self.tested.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.ended.append(self.model.get_weights())


def train(average, epochs=4, validate=True):
    """A run of two batches an epoch; what was recorded, and the weights at the end."""
    token_ids, labels = make_batch(rows=16)
    model, record = make_model(optimizer=keras.optimizers.Adam(0.05)), Record()
    model.fit(
        token_ids,
        labels,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        validation_data=(token_ids, labels) if validate else None,
        callbacks=[*([] if average is None else [average]), record],
    )
    return record, model.get_weights()


def assert_close(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("validate", [True, False])
def test_swa_is_the_mean_of_the_epochs_ends(validate):
    plain, _ = train(None)
    record, last = train(WeightAverage(start_epoch=1), validate=validate)
    for mine, theirs in zip(record.batches, plain.batches, strict=True):
        assert_close(mine, theirs)  # the training is that without an average
    ends = plain.batches[1::2]
    assert_close(record.ended[0], ends[0])
    for epoch in (1, 2, 3):
        mean = [np.mean(column, axis=0) for column in zip(*ends[1 : epoch + 1], strict=True)]
        assert_close(record.ended[epoch], mean)
        if validate:
            assert_close(record.tested[epoch], mean)
    assert_close(last, record.ended[-1])


def test_ema_follows_every_step():
    plain, _ = train(None)
    record, _ = train(WeightAverage(decay=0.6))
    for epoch in range(4):
        steps = plain.batches[: 2 * epoch + 2]
        counts = 0.6 ** np.arange(len(steps))[::-1]
        columns = zip(*steps, strict=True)
        expected = [np.average(column, axis=0, weights=counts) for column in columns]
        assert_close(record.tested[epoch], expected)


def test_keep_best_saves_the_average(tmp_path):
    token_ids, labels = make_batch(rows=16)
    model = make_model(optimizer=keras.optimizers.Adam(0.05))
    keep = KeepBest(tmp_path, "val_accuracy")
    callbacks = [WeightAverage(), keep]
    options = {"epochs": 3, "validation_data": (token_ids, labels), "verbose": 0}
    model.fit(token_ids, labels, batch_size=8, callbacks=callbacks, **options)
    best = keep.best_model().evaluate(token_ids, labels, verbose=0, return_dict=True)
    assert best["accuracy"] == pytest.approx(max(keep.history["val_accuracy"]))


def test_a_second_run_begins_anew():
    average = WeightAverage()
    train(average)
    record, _ = train(average)
    assert_close(record.ended[0], record.batches[1])


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="decay is 1"):
        WeightAverage(decay=1.0)
    with pytest.raises(ValueError, match="start_epoch is -1"):
        WeightAverage(start_epoch=-1)
