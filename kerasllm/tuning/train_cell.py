"""One training of a sweep, from texts to figures."""

import math
import shutil
import time

import keras

from kerasllm.data import make_batches, make_prediction_batches
from kerasllm.evaluation import classification_report
from kerasllm.metrics import MacroF1
from kerasllm.models import EmbeddingLSTMClassifier
from kerasllm.training import KeepBest, regularize, soft_vote
from kerasllm.tuning.regularizers import treatment
from kerasllm.tuning.sweep_outputs import log_hparams

# Rows in a batch where nothing is learned.
JUDGED_BATCH = 256
CHECKPOINTS = "checkpoints"


class CellTrainer:
    """Trains the cells of a sweep on one task; what differs is the regulariser and the seed.

    A cell begins from its seed, so its figures depend on nothing that was trained before it. The
    best epoch by macro-F1 on the validation rows is the one that is judged.

    Args:
        folder: For the checkpoints of the cell at work, and `tensorboard/`.
        pipeline: The `kerasllm.text.TextPipeline`.
        train: DataFrame of the training rows, with `text` and `label`.
        valid: The same of the validation rows.
        epochs: At most.
        patience: Epochs without improvement after which a training stops.
        batch_size: Rows in a batch.
        learning_rate: At the start; it falls to 0 by a cosine.
        **model_options: Arguments of `kerasllm.models.EmbeddingLSTMClassifier`.
    """

    def __init__(
        self,
        folder,
        pipeline,
        train,
        valid,
        epochs=20,
        patience=5,
        batch_size=32,
        learning_rate=2e-3,
        **model_options,
    ):
        self.folder, self.pipeline = folder, pipeline
        self.texts = train["text"].tolist()
        # (token ids, labels) of both parts, encoded once.
        self.train, self.valid = (
            (pipeline.encode(rows["text"].tolist()), pipeline.label_ids(rows["label"]))
            for rows in (train, valid)
        )
        self.epochs, self.patience = epochs, patience
        self.batch_size, self.learning_rate = batch_size, learning_rate
        self.model_options = model_options

    def __call__(self, cell):
        """The figures of a cell: `kerasllm.tuning.sweep_outputs.FIGURES`, by name."""
        start = time.perf_counter()
        treated = treatment(cell.regularizer, cell.strength)
        try:
            members = [
                self._train(treated, 1_000 * cell.seed + number)
                for number in range(treated.members)
            ]
        finally:
            shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
        model, keep = members[0]
        if treated.members > 1:
            model = soft_vote([member for member, _ in members])
        seconds = time.perf_counter() - start
        train, valid = (self._judge(model, *part) for part in (self.train, self.valid))
        figures = {
            "valid_accuracy": valid["accuracy"],
            "valid_macro_f1": valid["macro_f1"],
            "train_accuracy": train["accuracy"],
            "gap": train["accuracy"] - valid["accuracy"],
            "best_epoch": keep.state["best_epoch"] + 1,
            "epochs": keep.state["finished_epochs"],
            "seconds": seconds,
        }
        log_hparams(self.folder / "tensorboard", cell, figures, keep.history)
        return figures

    def _train(self, treated, seed):
        """The best model of one training, and the `KeepBest` that holds its history."""
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        ids, labels = self.train
        if treated.augmenter is not None:
            copies = treated.augmenter(self.texts, seed=seed)
            ids, labels = ids + self.pipeline.encode(copies), labels * 2
        steps = self.epochs * math.ceil(len(ids) / self.batch_size)
        model = self._build(treated, steps)
        regularize(model, treated.regularizers, seed=seed)
        keep = KeepBest(self.folder / CHECKPOINTS, "val_macro_f1", patience=self.patience)
        model.fit(
            make_batches(ids, labels, self.batch_size, shuffle=True, seed=seed),
            validation_data=make_batches(*self.valid, JUDGED_BATCH),
            shuffle=False,  # make_batches does it
            epochs=self.epochs,
            callbacks=[*treated.callbacks, keep],
            verbose=0,
        )
        return keep.best_model(), keep

    def _build(self, treated, steps):
        options = dict(self.model_options)
        if treated.dropout is not None:
            options["dropout"] = treated.dropout
        num_classes = len(self.pipeline.labels)
        model = EmbeddingLSTMClassifier(len(self.pipeline.vocabulary), num_classes, **options)
        schedule = keras.optimizers.schedules.CosineDecay(self.learning_rate, steps)
        loss = treated.loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics = ["accuracy", MacroF1(num_classes)]
        model.compile(keras.optimizers.Adam(schedule), loss, metrics=metrics)
        return model

    def _judge(self, model, ids, labels):
        batches, order = make_prediction_batches(ids, JUDGED_BATCH)
        predictions = model.predict(batches, verbose=0)[order].argmax(axis=1)
        return classification_report(labels, predictions, self.pipeline.labels)
