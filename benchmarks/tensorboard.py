"""An epoch with the TensorBoard callback against one without: what watching a training costs.

The classifier Embedding - bidirectional LSTM - dense, 20 steps an epoch, no validation. `keras` is
Keras's own callback; `search` is what a trial of a search logs, `default_parts` what the callback
logs when it is told nothing, the others add to that.
"""

import tempfile

import keras
import numpy as np
import tensorflow as tf

from benchmarks import measure
from kerasllm.models import EmbeddingLSTMClassifier
from kerasllm.training import TensorBoard
from kerasllm.training.tensorboard import HParams, Throughput, default_parts

VOCABULARY, BATCH, TIME, WIDTH, STEPS = 10_000, 64, 64, 128, 20
PLAIN = "plain"

# name -> a function of a folder to the callback
VARIANTS = {
    PLAIN: lambda folder: None,
    "keras": lambda folder: keras.callbacks.TensorBoard(folder),
    "search": lambda folder: TensorBoard(folder, [Throughput(), HParams(None, "loss")]),
    "default_parts": lambda folder: TensorBoard(folder, default_parts()),
    "histograms": lambda folder: TensorBoard(folder, default_parts(), histogram_freq=1),
    "every batch": lambda folder: TensorBoard(folder, default_parts(), update_freq=1),
}


class Epochs:
    """A training whose epochs are run one at a time, as `fit` runs them."""

    def __init__(self, board, data):
        keras.utils.set_random_seed(7)
        self.model = EmbeddingLSTMClassifier(
            VOCABULARY, 2, WIDTH, WIDTH, bidirectional=True, pooling="max"
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile("adam", loss, metrics=["accuracy"])
        self.model.make_train_function()
        callbacks = [] if board is None else [board]
        self.callbacks = keras.callbacks.CallbackList(callbacks, model=self.model)
        self.callbacks.on_train_begin()
        self.data, self.epoch = iter(data.repeat()), 0

    def __call__(self):
        self.model.reset_metrics()
        self.callbacks.on_epoch_begin(self.epoch)
        for step in range(STEPS):
            self.callbacks.on_train_batch_begin(step)
            logs = self.model.train_function(self.data)
            self.callbacks.on_train_batch_end(step, logs)
        logs = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        self.callbacks.on_epoch_end(self.epoch, logs)
        self.epoch += 1


def run(quick=False):
    random = np.random.default_rng(0)
    token_ids = random.integers(1, VOCABULARY, (STEPS * BATCH, TIME)).astype("int32")
    labels = random.integers(0, 2, STEPS * BATCH).astype("int32")
    data = tf.data.Dataset.from_tensor_slices((token_ids, labels)).batch(BATCH).cache()
    with tempfile.TemporaryDirectory() as folder:
        trainings = {
            name: Epochs(make(f"{folder}/{name}"), data) for name, make in VARIANTS.items()
        }
        times = measure.interleave(trainings, repeats=3 if quick else 7, warmup=2)
        for training in trainings.values():
            training.callbacks.on_train_end()
        check_equality(trainings)
    shape = f"{STEPS} x {BATCH} x {TIME}, width {WIDTH}"
    return measure.rows("epoch", shape, times, dict.fromkeys(times, "float32"), PLAIN)


def check_equality(trainings):
    """Watching changes nothing: all trainings end with the same weights."""
    expected = trainings[PLAIN].model.get_weights()
    for name, training in trainings.items():
        for mine, theirs in zip(training.model.get_weights(), expected, strict=True):
            if not np.array_equal(mine, theirs):
                raise AssertionError(f"the training with {name} ended with other weights")
