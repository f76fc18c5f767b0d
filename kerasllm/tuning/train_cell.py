"""One training of a sweep, from texts to figures."""

import math
import shutil
import time

import keras
import pandas

from kerasllm.data import make_batches, make_prediction_batches, stratified_split
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
    last epoch is judged, so that no cell takes its epoch by the rows that judge it; stopping early
    is a treatment like the others, by rows that it holds back from training.

    Args:
        folder: For the checkpoints of the cell at work, and `tensorboard/`.
        pipeline: The `kerasllm.text.TextPipeline`.
        train: DataFrame of the training rows, with `text` and `label`.
        valid: The same of the validation rows.
        epochs: How often a training sees its rows; at most, where it stops early.
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
        epochs=10,
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
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
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
        model, history, best_epoch = members[0]
        if treated.members > 1:
            model = soft_vote([member for member, _, _ in members])
        seconds = time.perf_counter() - start
        train, valid = (self._judge(model, *part) for part in (self.train, self.valid))
        figures = {
            "valid_accuracy": valid["accuracy"],
            "valid_macro_f1": valid["macro_f1"],
            "train_accuracy": train["accuracy"],
            "gap": train["accuracy"] - valid["accuracy"],
            "best_epoch": best_epoch,
            "epochs": len(history["loss"]),
            "seconds": seconds,
        }
        log_hparams(self.folder / "tensorboard", cell, figures, history)
        return figures

    def _train(self, treated, seed):
        """(model, history, the epoch that it is of, from 1) of one training."""
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        (ids, labels), texts = self.train, self.texts
        callbacks, keep = [*treated.callbacks], None
        judged = self.valid
        if treated.patience is not None:
            learned, held_back = self._hold_back(labels, seed)
            judged = [ids[i] for i in held_back], [labels[i] for i in held_back]
            ids, labels, texts = ([part[i] for i in learned] for part in (ids, labels, texts))
            folder = self.folder / CHECKPOINTS
            keep = KeepBest(folder, "val_macro_f1", patience=treated.patience)
            callbacks.append(keep)
        if treated.augmenter is not None:
            copies = treated.augmenter(texts, seed=seed)
            ids, labels = [*ids, *self.pipeline.encode(copies)], [*labels, *labels]
        model = self._build(treated, self.epochs * math.ceil(len(ids) / self.batch_size))
        regularize(model, treated.regularizers, seed=seed)
        history = model.fit(
            make_batches(ids, labels, self.batch_size, shuffle=True, seed=seed),
            validation_data=make_batches(*judged, JUDGED_BATCH),
            shuffle=False,  # make_batches does it
            epochs=self.epochs,
            callbacks=callbacks,
            verbose=0,
        ).history
        if keep is None:
            return model, history, len(history["loss"])
        return keep.best_model(), history, keep.state["best_epoch"] + 1

    def _hold_back(self, labels, seed):
        """Indices of the rows to learn from, and of a tenth that says when to stop."""
        rows = pandas.DataFrame({"text": self.texts, "label": labels})
        return (part.index for part in stratified_split(rows, (0.9, 0.1), seed=seed))

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
