"""Searches without trainings: oracles whose trials are a formula."""

import json

from kerasllm.tuning.algorithms import make_oracle
from kerasllm.tuning.oracles import ORDER, RESULT, message
from kerasllm.tuning.records import TrialRecords
from kerasllm.tuning.search_space import SearchSpace

SPACE = {"units": [8, 16, 24, 32], "optimizer": "adam"}


def start(folder, algorithm, report=str, seed=3, **options):
    """An oracle on the records of a folder, as `Search` makes it; and what the records lack."""
    space = SearchSpace("embedding_lstm", SPACE, 3 if algorithm == "grid" else None)
    records = TrialRecords(folder, space.dimensions)
    problems = records.load()
    options = {"initial_points": 3, "max_epochs": 9, "limit": 12, **options}
    oracle = make_oracle(algorithm, seed, records=records, report=report, **options)
    oracle._set_project_dir(str(folder), "trials")
    hp = oracle.get_space()
    space.declare(hp)
    oracle.update_space(hp)
    oracle.replay()
    return oracle, problems


def result_of(values):
    """The figures of a trial, by a formula."""
    epochs = values.get("tuner/epochs", 3)
    value = 0.5 + 0.01 * epochs - abs(values["dropout"] - 0.4) - 0.001 * values["units"]
    return {
        "valid_macro_f1": value,
        "valid_accuracy": value,
        "train_accuracy": value,
        "best_epoch": epochs,
        "epochs": epochs,
        "out_of_time": False,
        "seconds": 1.0,
        "history": {"val_macro_f1": [value] * epochs},
    }


def take(oracle, worker="tuner0"):
    """A trial as a worker gets it, and its values; the values are None without RUNNING."""
    trial = oracle.create_trial(worker)
    if trial.status != "RUNNING":
        return trial, None
    return trial, json.loads(trial.hyperparameters.values[ORDER])["values"]


def finish(oracle, trial, result):
    oracle.end_trial(message(trial, RESULT, result))


def run(oracle, stop_after=None, evaluate=result_of):
    """Runs trials one after the other; a list of `(id, values)`. Stops as a kill would."""
    done = []
    while stop_after is None or len(done) < stop_after:
        trial, values = take(oracle)
        if trial.status == "STOPPED":
            break
        finish(oracle, trial, evaluate(values))
        done.append((trial.trial_id, values))
    return done
