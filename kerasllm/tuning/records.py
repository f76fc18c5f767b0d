"""What a search has found, on disk: a record for each trial, `trials.csv`, checkpoints."""

import csv
import json
import pathlib

from kerasllm.files import atomic_write

TRIALS = "trials"
RECORD = "record.json"
CHECKPOINT = "checkpoint.weights.h5"
FIGURES = (
    *("valid_macro_f1", "valid_accuracy", "train_accuracy"),
    *("best_epoch", "epochs", "out_of_time", "seconds"),
)
COLUMNS = ("trial", "status", *FIGURES, "attempts", "reason")


class TrialRecords:
    """The records of a search, one file a trial, each replaced in one go.

    A record is a dict: `trial` (its id), `status` ("running", "done" or "failed"), `values` (the
    hyperparameters), `figures` (those of the best epoch), `history`, `reason` (of a failure),
    `elapsed` (seconds of the search when it ended), and `attempts`: a list of `[begun, ended,
    status, reason]`, where `begun` and `ended` count the events of the search.

    Args:
        folder: The search's output folder.
        hyperparameters: Names, for the columns of `trials.csv`.
    """

    def __init__(self, folder, hyperparameters=()):
        self.folder = pathlib.Path(folder)
        self.hyperparameters = tuple(hyperparameters)
        self.all = {}

    def load(self):
        """Reads what is there; a list of sentences about what is damaged and counts as not done."""
        problems = []
        for path in sorted((self.folder / TRIALS).glob(f"trial_*/{RECORD}")):
            trial = path.parent.name.removeprefix("trial_")
            try:
                record = json.loads(path.read_bytes())
                if record["trial"] != trial or not _whole(record):
                    raise ValueError("it is not what was written")
            except (OSError, ValueError, KeyError, TypeError) as error:
                problems.append(f"{path} is damaged ({error}): the trial is run again.")
            else:
                self.all[trial] = record
        return problems

    def write(self, record):
        """Keeps a record, and brings `trials.csv` up to date."""
        self.all[record["trial"]] = record
        with atomic_write(self.trial_folder(record["trial"]) / RECORD) as file:
            json.dump(record, file, ensure_ascii=False, indent=1)
        self.write_table()

    def trial_folder(self, trial):
        """Where a trial has its record and its checkpoint."""
        return self.folder / TRIALS / f"trial_{trial}"

    def done(self):
        """The records of the trials that ended well, the best first."""
        found = [record for record in self.all.values() if record["status"] == "done"]
        return sorted(found, key=lambda record: (-score(record), record["trial"]))

    def elapsed(self):
        """Seconds that the search has taken so far."""
        return max((record.get("elapsed") or 0.0 for record in self.all.values()), default=0.0)

    def write_table(self):
        """Writes `trials.csv`: a line for each trial, with a mark for Excel that it is UTF-8."""
        columns = [*COLUMNS, *self.hyperparameters]
        with atomic_write(self.folder / "trials.csv", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            for _, record in sorted(self.all.items()):
                attempts = {"attempts": len(record["attempts"])}
                figures = record.get("figures") or {}
                writer.writerow({**record["values"], **record, **figures, **attempts})

    def prune(self, keep, running=()):
        """Deletes all checkpoints but those of the best `keep` trials and of running ones.

        Returns:
            How many are left, and their bytes.
        """
        kept = {record["trial"] for record in self.done()[:keep]} | set(running)
        left = []
        for path in (self.folder / TRIALS).glob(f"trial_*/{CHECKPOINT}"):
            if path.parent.name.removeprefix("trial_") in kept:
                left.append(path.stat().st_size)
            else:
                path.unlink(missing_ok=True)
        return len(left), sum(left)


def score(record):
    """By what trials are compared: macro-F1 on the validation rows."""
    return record["figures"]["valid_macro_f1"]


def values_key(values):
    """A dict of values as a str, the same for the same values in any order."""
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


def _whole(record):
    attempts = record["attempts"]
    done = record["status"] == "done"
    return (
        record["status"] in ("running", "done", "failed")
        and isinstance(record["values"], dict)
        and all(len(attempt) == 4 for attempt in attempts)
        and (not done or isinstance(score(record), float))
    )
