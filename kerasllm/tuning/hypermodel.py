"""Hypermodels: a classifier and its training as functions of hyperparameters."""

import math
import time

import keras

from kerasllm.data import class_weights, make_batches
from kerasllm.metrics import MacroF1
from kerasllm.models.presets import (
    default_epochs,
    default_patience,
    make_classifier,
    make_schedule,
)
from kerasllm.optimizers import Adam, AdamW
from kerasllm.training import (
    FGM,
    RDrop,
    SmoothedCrossentropy,
    WeightAverage,
    WordDropout,
    regularize,
)
from kerasllm.tuning.requirements import require_keras_tuner
from kerasllm.tuning.search_space import SearchSpace

keras_tuner = require_keras_tuner()

OBJECTIVE = "val_macro_f1"
# What Hyperband says about the length of a trial.
EPOCHS = "tuner/epochs"


class TextClassifierHyperModel(keras_tuner.HyperModel):
    """A preset of `kerasllm.models.presets` and how it is trained, for Keras Tuner.

    `build` makes and compiles the model: structure, loss, regularisers, optimizer, schedule. `fit`
    makes the batches of the tokens that the hyperparameters ask for and trains, with early stopping
    on macro-F1. What may vary is in `kerasllm.tuning.SEARCH_SPACES`.

    Examples:

    >>> task = TextTask(train_rows, valid_rows)
    >>> hypermodel = TextClassifierHyperModel("embedding_lstm", task, epochs=10)
    >>> tuner = keras_tuner.RandomSearch(
    ...     hypermodel, keras_tuner.Objective("val_macro_f1", "max"), max_trials=10
    ... )
    >>> tuner.search()

    Args:
        name: The preset's name.
        task: A `TextTask`.
        epochs: At most; by default as many as the classification recipe takes for the rows.
            Hyperband sets them itself, for each trial.
        patience: Epochs without improvement after which a training stops.
        space: A `SearchSpace`; the preset's by default.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; Keras's global one by default.
    """

    judged_batch = 256  # rows in a batch where nothing is learned

    def __init__(self, name, task, epochs=None, patience=4, space=None, dtype=None):
        super().__init__(name=name)
        self.preset, self.task = name, task
        self.epochs, self.patience, self.dtype = epochs, patience, dtype
        self.space = space or SearchSpace(name)

    def declare_hyperparameters(self, hp):
        self.space.declare(hp)

    def build(self, hp):
        values = self._values(hp)
        model = self._model(values)
        steps = self.scheduled_epochs(values) * self._steps(values)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if values.get("label_smoothing"):
            loss = SmoothedCrossentropy(values["label_smoothing"])
        metrics = ["accuracy", MacroF1(len(self.task.labels))]
        model.compile(self._optimizer(model, values, steps), loss, metrics=metrics)
        return regularize(model, regularizers(values))

    def fit(self, hp, model, callbacks=(), stop_epoch=None, seconds=None, seed=0, verbose=0):
        """Trains a model that `build` made.

        Args:
            hp: The hyperparameters.
            model: The model.
            callbacks: Keras callbacks.
            stop_epoch: Epochs to train, of those that the schedule is made for; all by default.
            seconds: Time after which the training stops, inside an epoch; None for any time.
            seed: An int from 0, of the order of the rows.
            verbose: As in Keras.

        Returns:
            Keras's `History`, with `out_of_time`: whether the time ended the training.
        """
        values = self._values(hp)
        encoded = self._encoded(values)
        ids, labels = encoded.train
        weights = None
        if values.get("class_weights") == "balanced":
            weights = class_weights(labels, len(self.task.labels))
        ours = [WeightAverage(values["ema"])] if values.get("ema") else []
        limit = TimeLimit(seconds)
        valid = None
        if encoded.valid is not None:
            valid = make_batches(*encoded.valid, self.judged_batch)
            patience = keras.callbacks.EarlyStopping(OBJECTIVE, mode="max", patience=self.patience)
            ours.append(patience)
        history = model.fit(
            make_batches(ids, labels, values["batch_size"], shuffle=True, seed=seed),
            validation_data=valid,
            shuffle=False,  # make_batches does it
            epochs=stop_epoch or self.scheduled_epochs(values),
            class_weight=weights,
            callbacks=[*ours, limit, *callbacks],
            verbose=verbose,
        )
        history.out_of_time = limit.reached
        return history

    def pipeline(self, values):
        """The `kerasllm.text.TextPipeline` of a trial with these values."""
        return self._encoded(values).pipeline

    def finished(self, model):
        """A trained model as it is saved, without what only its training needed."""
        return model

    def replaced(self, **changes):
        """The same hypermodel with other arguments, such as another task.

        Args:
            **changes: Of the class.
        """
        arguments = {name: getattr(self, name) for name in ("task", "epochs", "patience", "space")}
        return type(self)(**{**self._identity(), **arguments, "dtype": self.dtype, **changes})

    def of_recipe(self):
        """The preset as the classification recipe trains it, with its number of epochs.

        Returns:
            A hypermodel, and the dict of its hyperparameters.
        """
        space = SearchSpace(self.preset)
        values = space.defaults()
        epochs = default_epochs(len(self.task.train), values["batch_size"])
        return self.replaced(epochs=epochs, patience=default_patience(epochs), space=space), values

    def _identity(self):
        """The arguments that say which model it is."""
        return {"name": self.preset}

    def _model(self, values):
        """The model of these values, not compiled."""
        return make_classifier(
            self.preset,
            len(self._encoded(values).pipeline.vocabulary),
            len(self.task.labels),
            dtype=self.dtype,
            **self.space.model_arguments(values),
        )

    def _values(self, hp):
        values = self.space.declare(hp)
        return {**values, EPOCHS: hp.values[EPOCHS]} if EPOCHS in hp.values else values

    def _encoded(self, values):
        return self.task.encoded(values["tokenizer"], values["min_frequency"])

    def _steps(self, values):
        return math.ceil(len(self.task.train) / values["batch_size"])

    def scheduled_epochs(self, values):
        """For how many epochs the schedule of a trial with these values is made."""
        most = self.epochs or default_epochs(len(self.task.train), values["batch_size"])
        return values.get(EPOCHS) or max(1, round(most * values["epochs_share"]))

    def _optimizer(self, model, values, steps):
        schedule = make_schedule(
            self.preset,
            steps,
            values["learning_rate"],
            values["warmup_share"],
            final_share=1.0 if values["schedule"] == "constant" else 0.0,
        )
        if values["optimizer"] == "adam":
            return Adam(schedule)
        optimizer = AdamW(schedule, weight_decay=values["weight_decay"])
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer


class EmbeddingLSTMHyperModel(TextClassifierHyperModel):
    """`TextClassifierHyperModel` of the preset "embedding_lstm"."""

    def __init__(self, task, **options):
        super().__init__("embedding_lstm", task, **options)

    def _identity(self):
        return {}


class TransformerHyperModel(TextClassifierHyperModel):
    """`TextClassifierHyperModel` of the preset "transformer"."""

    def __init__(self, task, **options):
        super().__init__("transformer", task, **options)

    def _identity(self):
        return {}


def regularizers(values):
    """Those that the hyperparameters ask for, for `kerasllm.training.regularize`."""
    found = [WordDropout(values["word_dropout"])] if values.get("word_dropout") else []
    second = {"r_drop": RDrop, "fgm": FGM}.get(values.get("second_pass"))
    return [*found, second(values[values["second_pass"]])] if second else found


class TimeLimit(keras.callbacks.Callback):
    """Stops a training when its time is over, after the step under way.

    Keras then validates the model as it is and ends the epoch.

    Args:
        seconds: From the beginning of the training; None for any time.

    Attributes:
        reached: Whether it did stop one.
    """

    def __init__(self, seconds=None):
        super().__init__()
        self.seconds, self.reached = seconds, False

    def on_train_begin(self, logs=None):
        self._end = time.monotonic() + (math.inf if self.seconds is None else self.seconds)

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() >= self._end:
            self.reached = self.model.stop_training = True
