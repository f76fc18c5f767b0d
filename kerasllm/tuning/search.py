"""A search from its first trial to the best model's folder."""

import json
import math
import pathlib

from kerasllm.evaluation import evaluate_classifier, plot_learning_curves
from kerasllm.files import atomic_write
from kerasllm.tuning.algorithms import make_oracle
from kerasllm.tuning.budget import Budget
from kerasllm.tuning.chief import LocalWorkers, serve
from kerasllm.tuning.records import TrialRecords, score
from kerasllm.tuning.statistics import mean_interval
from kerasllm.tuning.trainings import (
    compare_with_default,
    judged_classifier,
    repeat_trial,
    retrained_classifier,
)
from kerasllm.tuning.tuner import SearchTuner, disk_is_full, full_disk

BEST_MODEL = "best_model"
FINALISTS = 3
# Of a budget, for the finalists.
RESERVED_SHARE = 0.3


class Search:
    """Looks for the hyperparameters that suit a task; can be killed at any moment and go on.

    Trials are compared by macro-F1 on the validation rows. As one training is also luck, the best
    `FINALISTS` are trained again from other seeds, and the best mean wins.

    Examples:

    >>> hypermodel = TextClassifierHyperModel("embedding_lstm", TextTask(train, valid), epochs=10)
    >>> search = Search("runs/search", hypermodel, "bayesian", budget_seconds=900)
    >>> search.run()
    >>> search.save_best(valid)

    Args:
        folder: The output folder.
        hypermodel: A `kerasllm.tuning.TextClassifierHyperModel`.
        algorithm: One of `kerasllm.tuning.ALGORITHMS`.
        max_trials: At most; None for any number.
        budget_seconds: The time for trials and repetitions, that of earlier runs of the same search
            included; None for any.
        seed: An int from 0.
        keep: How many of the best trials keep their checkpoints on disk.
        confirm: From how many more seeds the finalists are trained.
        report: Gets a line about each step.
    """

    def __init__(
        self,
        folder,
        hypermodel,
        algorithm="bayesian",
        max_trials=None,
        budget_seconds=None,
        seed=0,
        keep=3,
        confirm=2,
        report=print,
    ):
        self.folder, self.hypermodel, self.seed = pathlib.Path(folder), hypermodel, seed
        self.algorithm, self.confirm, self.report = algorithm, confirm, report
        self.records = TrialRecords(folder, hypermodel.space.dimensions)
        for problem in self.records.load():
            report(problem)
        self.budget = Budget(budget_seconds, self._used())
        self.oracle = make_oracle(
            algorithm,
            seed,
            records=self.records,
            limit=max_trials,
            budget=self.budget,
            reserve=self._reserve,
            report=self._report_trial,
            keep=max(1, keep),
            max_epochs=hypermodel.epochs,
        )
        self.tuner = SearchTuner(self.oracle, hypermodel, folder, seed)
        if self.records.all:
            report(f"{self.oracle.replay()} trials were done before")
            self.records.prune(self.oracle.keep)

    def run(self, worker_command=None, workers=1, address=None):
        """Runs trials until the budget or the space is used up, then repeats the finalists.

        Args:
            worker_command: What a worker on this machine runs: a list of str.
            workers: How many there are; with 1 this process runs the trials itself.
            address: `(ip, port)` where the chief of workers on other machines listens.

        Returns:
            The best trial's record.

        Raises:
            ValueError: If no trial ended well.
            OSError: If the disk is full.
        """
        try:
            return self._run(worker_command, workers, address)
        except Exception as error:
            if disk_is_full(error):
                raise full_disk(self.folder) from error
            raise

    def _run(self, worker_command, workers, address):
        if address is not None:
            self.report(f"the chief listens at {address[0]}:{address[1]}")
            serve(self.oracle, address, report=self.report)
        elif workers > 1:
            local = LocalWorkers(worker_command, workers, self.folder / "workers")
            serve(self.oracle, ("127.0.0.1", 0), local, report=self.report)
        else:
            self.tuner.search()
            self.report(f"the search ends: {self.oracle.stop_reason}")
        if not self.records.done():
            raise ValueError(
                f"No trial ended well: {self.oracle.stop_reason}. See error.txt in the folders of "
                f"{self.folder / 'trials'}."
            )
        for number in range(1, self.confirm + 1):
            for record in self._finalists():
                self._repeat(record, number)
        count, size = self.records.prune(self.oracle.keep)
        self.report(f"checkpoints on disk: {count} of the best trials, {size / 1e6:.1f} MB")
        self._write_best()
        return self.best()

    def best(self):
        """The record of the best trial so far, None where there is none yet.

        Of the finalists that were repeated most, the one with the best mean.
        """
        found = self._finalists()
        most = max((len(self._scores(record)) for record in found), default=0)
        found = [record for record in found if len(self._scores(record)) == most]
        return max(found, key=lambda record: _mean(self._scores(record)), default=None)

    def save_best(self, valid, test=None, retrain=True):
        """Writes the best model's folder: what `kerasllm.TextClassifier.load` reads, and figures.

        `metrics.json` holds the validation figures of the trial's model, which saw the training
        rows only. The model that is saved is trained on the validation rows too, for as many epochs
        as were best; the validation rows cannot judge it any more, test rows can.

        Args:
            valid: DataFrame of the validation rows.
            test: The same of test rows; None where there are none.
            retrain: Whether to train on all rows; else the trial's model is saved.

        Returns:
            dict of part to `kerasllm.evaluation.classification_report`.
        """
        record, folder = self.best(), self.folder / BEST_MODEL
        trial_folder = self.records.trial_folder(record["trial"])
        classifier = judged_classifier(self.hypermodel, record, trial_folder, self.seed)
        reports = evaluate_classifier(classifier, {"valid": valid}, folder)
        plot_learning_curves(folder / "learning_curves.png", record["history"])
        epochs = record["figures"]["best_epoch"]
        if retrain:
            epochs = round(_mean([f["best_epoch"] for f in self._runs(record)]))
            classifier = retrained_classifier(self.hypermodel, record, epochs, self.seed)
        classifier.save(folder)
        if test is not None:
            reports |= evaluate_classifier(classifier, {"test": test}, folder)
            with atomic_write(folder / "metrics.json") as file:
                json.dump(reports, file, ensure_ascii=False, indent=1)
        rows = "the training and the validation rows" if retrain else "the training rows"
        judged = "the figures of the validation rows are those of the trial's model"
        if retrain:
            judged += ", which saw the training rows only; model.keras was trained on both"
        self._write_best(trained_on=rows, trained_epochs=epochs, judged=judged)
        self.report(f"model.keras: {epochs} epochs on {rows}. In metrics.json {judged}.")
        return reports

    def compare(self, seeds):
        """Compares the best hyperparameters with the preset's own; see `compare_with_default`.

        Writes `comparison.json`.

        Returns:
            The comparison as lines of text.
        """
        record = self.best()
        results = compare_with_default(
            self.hypermodel, record, self.folder / "comparison", seeds, self.report
        )
        lines, summary = [], {}
        for name, runs in results.items():
            scores = [run["valid_macro_f1"] for run in runs]
            mean, half = mean_interval(scores)
            interval = "" if math.isnan(half) else f" ± {half:.4f}"
            lines.append(f"{name:8} macro F1 {mean:.4f}{interval}, {len(scores)} seeds")
            summary[name] = {"mean_valid_macro_f1": mean, "runs": runs}
        with atomic_write(self.folder / "comparison.json") as file:
            json.dump({"trial": record["trial"], **summary}, file, ensure_ascii=False, indent=1)
        return "\n".join(lines)

    def _report_trial(self, line):
        self.report(line)
        self._write_best()

    def _finalists(self):
        return self.records.done()[:FINALISTS]

    def _repeat(self, record, number):
        folder = self.records.trial_folder(record["trial"])
        left, elapsed = self.budget.left, self.budget.elapsed
        known = (folder / f"repeat_{number}.json").is_file()
        found = repeat_trial(self.hypermodel, record, folder, number, left, elapsed)
        if found and not known:
            self.report(
                f"trial {record['trial']} from seed {number}: macro F1 "
                f"{found['valid_macro_f1']:.4f}"
            )

    def _runs(self, record):
        """The figures of a trial and of its repetitions."""
        runs = [record["figures"]]
        for path in sorted(self.records.trial_folder(record["trial"]).glob("repeat_*.json")):
            try:
                runs.append(json.loads(path.read_bytes()))
            except ValueError:
                continue  # damaged: it is made again
        return runs

    def _scores(self, record):
        return [run["valid_macro_f1"] for run in self._runs(record)]

    def _reserve(self):
        """Seconds that the repetitions of the finalists will take, and no more than a part."""
        needed = self.confirm * sum(r["figures"]["seconds"] for r in self._finalists())
        return min(needed, RESERVED_SHARE * (self.budget.seconds or math.inf))

    def _used(self):
        runs = [run for record in self.records.done() for run in self._runs(record)]
        return max([self.records.elapsed(), *(run.get("elapsed") or 0.0 for run in runs)])

    def _write_best(self, **more):
        """Writes `best.json`."""
        record = self.best()
        if record is None:
            return
        statuses = [other["status"] for other in self.records.all.values()]
        content = {
            "model": self.hypermodel.preset,
            "algorithm": self.algorithm,
            "trial": record["trial"],
            "valid_macro_f1": score(record),
            "scores": self._scores(record),
            "figures": record["figures"],
            "values": record["values"],
            "trials": {status: statuses.count(status) for status in sorted(set(statuses))},
            "seconds": self._used(),
            **more,
        }
        with atomic_write(self.folder / "best.json") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)


def _mean(values):
    return sum(values) / len(values)
