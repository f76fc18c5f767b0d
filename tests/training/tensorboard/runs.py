"""A small training with everything logged, and what was logged read back."""

import keras
import numpy as np
import tensorflow as tf
from recipe_helpers import make_rows
from tensorboard.backend.event_processing import event_accumulator

from kerasllm.data import make_batches
from kerasllm.metrics import ConfusionMatrix, MacroF1
from kerasllm.models import EmbeddingLSTMClassifier
from kerasllm.text import CharTokenizer, TextPipeline
from kerasllm.training import TensorBoard
from kerasllm.training.tensorboard import EmbeddingProjector, HParams, Validation, default_parts

LABELS = ["中评", "好评", "差评"]


class Run:
    """What a run is made of: pipeline, data, model; and `fit`."""

    def __init__(self, seed=0, jit_compile=False, metrics=()):
        rows = make_rows(72, 1)
        self.texts = [text for text, _ in rows]
        self.pipeline = TextPipeline.fit(
            self.texts, tokenizer=CharTokenizer(), labels=LABELS, max_length=16
        )
        self.ids = self.pipeline.encode(self.texts)
        self.labels = np.array(self.pipeline.label_ids([label for _, label in rows]))
        keras.utils.set_random_seed(seed)
        self.model = EmbeddingLSTMClassifier(len(self.pipeline.vocabulary), 3, 8, 8, pooling="max")
        self.model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, 12)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy", MacroF1(3), *metrics],
            jit_compile=jit_compile,
        )

    def train_batches(self):
        return make_batches(self.ids[:48], self.labels[:48], batch_size=16)

    def valid_batches(self):
        return make_batches(self.ids[48:], self.labels[48:], batch_size=16)

    def parts(self, **values):
        return [
            *default_parts(),
            HParams({"dropout": 0.5, "tokenizer": "字", **values}, monitor="val_macro_f1"),
            Validation(self.valid_batches(), LABELS, texts=self.texts[48:], num_samples=6),
            EmbeddingProjector(self.pipeline.vocabulary.tokens),
        ]

    def fit(self, *callbacks, epochs=3, **options):
        return self.model.fit(
            self.train_batches(),
            validation_data=self.valid_batches(),
            epochs=epochs,
            verbose=0,
            callbacks=list(callbacks),
            shuffle=False,
            **options,
        ).history


def full_run(folder, seed=0, epochs=3, **hparams):
    """A run with all parts into a folder; the run and its history."""
    run = Run(seed, metrics=[ConfusionMatrix(3)])
    board = TensorBoard(folder, run.parts(seed=seed, **hparams), histogram_freq=1, update_freq=1)
    return run, run.fit(board, epochs=epochs)


def read_scalars(folder):
    """dict of tag -> list of `(step, value)` in a folder's event files."""
    events = read_events(folder)
    found = {}
    for tag in events.Tags()["tensors"]:
        plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
        if plugin == "scalars":
            found[tag] = [
                (e.step, float(tf.make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)
            ]
    return found


def read_tensors(folder, plugin):
    """dict of tag -> list of `(step, array)` of what is there for one plugin."""
    events = read_events(folder)
    return {
        tag: [(e.step, tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == plugin
    }


def read_events(folder):
    events = event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0})
    return events.Reload()
