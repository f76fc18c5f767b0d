"""Trainings beside the trials: the finalists' repetitions, the comparison, the last model."""

import json
import pathlib
import warnings

import keras
import pandas as pd

from kerasllm import TextClassifier
from kerasllm.files import atomic_write, replace_file
from kerasllm.models.loading import without_optimizer
from kerasllm.tuning.hypermodel import EPOCHS
from kerasllm.tuning.records import CHECKPOINT
from kerasllm.tuning.requirements import require_keras_tuner
from kerasllm.tuning.task import TextTask
from kerasllm.tuning.tuner import figures, give_memory_back, training_seed

keras_tuner = require_keras_tuner()


def train_once(hypermodel, values, seed, stop_epoch=None, seconds=None, callbacks=()):
    """Trains one model from a seed.

    Args:
        hypermodel: A `TextClassifierHyperModel`.
        values: dict of the hyperparameters.
        seed: An int or a str; with the hyperparameters it makes the random numbers.
        stop_epoch: Epochs to train, of those that the schedule is made for.
        seconds: Time after which the training stops.
        callbacks: Keras callbacks.

    Returns:
        The model as it was at the end, and Keras's `History`.
    """
    give_memory_back()
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    number = training_seed(values, seed)
    keras.utils.set_random_seed(number)
    model = hypermodel.build(hp)
    history = hypermodel.fit(
        hp, model, callbacks, stop_epoch=stop_epoch, seconds=seconds, seed=number
    )
    return model, history


def remembered(path, train):
    """What `train()` gives, a dict, from a file where it was kept before."""
    path = pathlib.Path(path)
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):  # not there, or damaged: it is made again
        found = train()
        if found is not None:
            with atomic_write(path) as file:
                json.dump(found, file, ensure_ascii=False, indent=1)
        return found


def repeat_trial(hypermodel, record, folder, number, seconds, elapsed):
    """The figures of a trial's hyperparameters from another seed.

    Args:
        hypermodel: The search's.
        record: The trial's record.
        folder: The trial's folder, where they are kept.
        number: Which repetition, from 1.
        seconds: A function: the time left; with none left nothing is trained.
        elapsed: A function: the time that the search has taken, which is kept too.

    Returns:
        A dict, or None where there was no time for the whole training.
    """

    def train():
        left = seconds()
        if left <= 0:
            return None
        _, history = train_once(hypermodel, record["values"], f"repeat {number}", seconds=left)
        if history.out_of_time:
            return None
        found = figures(history, 0.0)
        return {**found, "elapsed": elapsed()}

    return remembered(pathlib.Path(folder) / f"repeat_{number}.json", train)


def judged_classifier(hypermodel, record, folder, seed):
    """The best trial's model as it was at its best epoch.

    Where the checkpoint is missing (on another machine) or damaged, it is trained again, which
    gives the same.
    """
    path = pathlib.Path(folder) / CHECKPOINT
    values = record["values"]
    pipeline = hypermodel.pipeline(values)
    try:
        hp = keras_tuner.HyperParameters()
        hp.values = dict(values)
        model = hypermodel.build(hp)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimizer's state is not there
            model.load_weights(path)
    except Exception:  # whatever HDF5 makes of the file
        print(f"{path} is missing or damaged: the trial is trained again.")
        best = record["figures"]["best_epoch"]
        model, _ = train_once(hypermodel, values, seed, stop_epoch=best)
        with replace_file(path) as temporary, without_optimizer(model):
            model.save_weights(temporary)
    return TextClassifier(hypermodel.finished(model), pipeline)


def retrained_classifier(hypermodel, record, epochs, seed):
    """A classifier of the best hyperparameters, trained on training and validation rows.

    Args:
        hypermodel: The search's.
        record: The best trial's record.
        epochs: How many to train; the schedule is the trial's own.
        seed: The search's.
    """
    task = hypermodel.task
    rows = pd.concat([task.train, task.valid], ignore_index=True)
    all_rows = TextTask(rows, None, task.max_length, task.max_vocabulary)
    values = record["values"]
    whole = hypermodel.replaced(task=all_rows)
    scheduled = {**values, EPOCHS: hypermodel.scheduled_epochs(values)}
    model, _ = train_once(whole, scheduled, seed, stop_epoch=epochs)
    return TextClassifier(whole.finished(model), whole.pipeline(values))


def compare_with_default(hypermodel, record, folder, seeds, report=print):
    """Trains the best hyperparameters and the preset's own, each from several new seeds.

    The preset is trained as the classification recipe trains it, with its number of epochs. Both
    are judged by their best epoch on the validation rows.

    Args:
        hypermodel: The search's.
        record: The best trial's record.
        folder: Where the figures are kept, so that a comparison that was killed goes on.
        seeds: How many.
        report: Gets a line about each training.

    Returns:
        dict of "default" and "best" to a list of dicts, one a seed.
    """
    contenders = {"default": hypermodel.of_recipe(), "best": (hypermodel, record["values"])}
    results = {name: [] for name in contenders}
    for seed in range(seeds):
        for name, (model, values) in contenders.items():

            def train(model=model, values=values, seed=seed):
                return figures(train_once(model, values, f"compare {seed}")[1], 0.0)

            label = name if name == "default" else f"trial_{record['trial']}"
            found = remembered(pathlib.Path(folder) / f"{label}_seed_{seed}.json", train)
            results[name].append(found)
            report(f"{name}, seed {seed}: macro F1 {found['valid_macro_f1']:.4f}")
    return results
