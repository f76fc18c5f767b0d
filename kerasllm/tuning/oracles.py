"""Keras Tuner's oracles with a memory that survives a kill, a budget, and an end to failures."""

import copy
import json
import math
import shutil
import threading
import time

from kerasllm.tuning.budget import Budget
from kerasllm.tuning.records import values_key
from kerasllm.tuning.requirements import require_keras_tuner

keras_tuner = require_keras_tuner()

from keras_tuner.engine.trial import Trial, TrialStatus  # noqa: E402

OBJECTIVE = "val_macro_f1"
# What travels with a trial to its worker and back, beside the hyperparameters.
ORDER, RESULT = "tuner/order", "tuner/result"
# After so many trials in a row that failed, the space is wrong and not the luck.
FAILURES_IN_A_ROW = 3


class RecordedOracle:
    """Mixin for an oracle of Keras Tuner: the search can be killed at any moment.

    Keras Tuner's own state does not hold all that its oracles know (a grid's place, the random
    state of Bayesian optimisation), and its files are not replaced in one go. Here every begin and
    end of a trial is an event in that trial's record, and a search that goes on plays the events
    to a new oracle, which is then in the same state. What does not fit any more is not lost: it is
    taken when its hyperparameters come up again.

    The first trial has the default values. A trial that fails is tried once more.

    Args:
        records: The `TrialRecords`; None in a worker, which leaves them to the chief.
        limit: The largest number of trials; None for any.
        budget: A `Budget`.
        reserve: A function without arguments: seconds to leave of the budget.
        report: Gets a line about each trial.
        keep: How many trials keep their checkpoints.
        **options: Of the oracle.
    """

    def __init__(
        self,
        records=None,
        limit=None,
        budget=None,
        reserve=lambda: 0.0,
        report=print,
        keep=3,
        **options,
    ):
        objective = keras_tuner.Objective(OBJECTIVE, "max")
        super().__init__(objective=objective, max_retries_per_trial=1, **options)
        self.verbose, self.max_trials = 0, None  # `limit` is ours
        self.records, self.limit, self.report, self.keep = records, limit, report, keep
        self.budget, self.reserve = budget or Budget(), reserve
        self.stop_reason = None
        self.disk = 0, 0  # checkpoints and their bytes
        self._lock = threading.RLock()
        self._events = 0
        self._known = {}  # values_key -> a record that awaits its trial
        self.seen = {}  # tuner id -> when it was last heard of

    def create_trial(self, tuner_id):
        """The next trial of a worker; it ends the search by the status STOPPED."""
        with self._lock:
            self.seen[tuner_id] = time.monotonic()
            while True:
                if tuner_id not in self.ongoing_trials:
                    self.stop_reason = self.stop_reason or self._reason_to_stop()
                    bare = keras_tuner.HyperParameters()
                    if self.stop_reason:
                        self.tuner_ids.discard(tuner_id)
                        return Trial(bare, "-", TrialStatus.STOPPED)
                    if self._limit_reached():  # but a trial under way may have to be tried again
                        return Trial(bare, "-", TrialStatus.IDLE)
                trial = super().create_trial(tuner_id)
                if trial.status == TrialStatus.STOPPED and not self.ongoing_trials:
                    self.stop_reason = "there is no other combination"
                if trial.status != TrialStatus.RUNNING:
                    return message(trial)
                values = trial.hyperparameters.values
                known = self._known.pop(values_key(values), None)
                if known is None:
                    break
                self._adopt(trial, known)
            self._begin(trial)
            self.report(f"trial {trial.trial_id} begins: {self._differences(values)}")
            left = self.budget.left() - self.reserve()
            order = {"values": values, "seconds": None if math.isinf(left) else max(0.0, left)}
            return message(trial, ORDER, order)

    def end_trial(self, trial):
        """Takes the result that a worker put among the values of its trial."""
        with self._lock:
            if all(own.trial_id != trial.trial_id for own in self.ongoing_trials.values()):
                return  # of a worker that was given up, and its trial with it
            result = json.loads(trial.hyperparameters.values[RESULT])
            self._end(self.trials[trial.trial_id], result)
            running = [own.trial_id for own in self.ongoing_trials.values()]
            self.disk = self.records.prune(self.keep, running)

    def lose(self, tuner_id, reason):
        """Gives a worker up; its trial counts as failed, and is tried once more."""
        with self._lock:
            self.tuner_ids.discard(tuner_id)
            self.seen.pop(tuner_id, None)
            trial = self.ongoing_trials.get(tuner_id)
            if trial is not None:
                self._end(trial, {"reason": reason})
            return trial is not None

    def replay(self):
        """Brings a new oracle to the state in which the records were left.

        Returns:
            The number of trials that are done, or failed for good.
        """
        events = sorted(
            (number, ended, record["trial"], attempt)
            for record in self.records.all.values()
            for attempt in record["attempts"]
            for ended, number in enumerate(attempt[:2])
            if number is not None
        )
        before, report = self.records.all, self.report
        self.records.all, self.report = {}, lambda line: None
        write, self.records.write = self.records.write, self._remember
        try:
            for number, ended, trial_id, attempt in events:
                if not self._repeat(number, ended, before[trial_id], attempt):
                    break
        finally:
            self.records.write, self.report = write, report
        for tuner_id in list(self.ongoing_trials):  # they were under way at the end
            self._retry_queue.append(self.ongoing_trials.pop(tuner_id).trial_id)
        self._retry_queue.sort(reverse=True)  # the last is taken first
        self.tuner_ids.clear()
        self.seen.clear()
        self._events = 1 + max((event[0] for event in events), default=-1)
        played = set(self.records.all)
        self.records.all = {**before, **self.records.all}
        self._known = {
            values_key(record["values"]): record
            for trial_id, record in before.items()
            if trial_id not in played and record["status"] == "done"
        }
        return sum(record["status"] != "running" for record in self.records.all.values())

    def _remember(self, record):
        self.records.all[record["trial"]] = record

    def _repeat(self, number, ended, record, attempt):
        """Plays one event; whether the oracle did what it did then."""
        tuner_id = f"replay {record['trial']}"
        self._events = number
        if ended:
            trial = self.ongoing_trials.get(tuner_id)
            if trial is None:
                return False
            done = attempt[2] == "done"
            result = {**record["figures"], "history": record["history"]} if done else {}
            self._end(trial, result or {"reason": attempt[3]}, record["elapsed"])
            return True
        trial = super().create_trial(tuner_id)
        same = trial.status == TrialStatus.RUNNING and trial.trial_id == record["trial"]
        if same and trial.hyperparameters.values == record["values"]:
            self._begin(trial)
            return True
        return False

    def _begin(self, trial):
        if self.records is None:
            return
        before = self.records.all.get(trial.trial_id)
        values = dict(trial.hyperparameters.values)
        record = before
        if before is None or before["values"] != values:
            if before is not None and before["status"] == "done":
                self._set_aside(before)
            record = {"trial": trial.trial_id, "values": values, "attempts": []}
        attempts = record["attempts"]
        if not attempts or attempts[-1][1] is not None:  # else it is one that was broken off
            attempts = [*attempts, [self._event(), None, None, None]]
        empty = {"figures": None, "history": None, "reason": None, "elapsed": None}
        self.records.write({**record, **empty, "status": "running", "attempts": attempts})

    def _end(self, trial, result, elapsed=None):
        history = result.pop("history", None)
        done = history is not None
        if done:
            self.update_trial(trial.trial_id, {OBJECTIVE: result["valid_macro_f1"]}, step=0)
        trial.status = TrialStatus.COMPLETED if done else TrialStatus.INVALID
        trial.message = None if done else result["reason"]
        super().end_trial(trial)
        status = {TrialStatus.COMPLETED: "done", TrialStatus.FAILED: "failed"}
        status = status.get(trial.status, "running")  # which is tried once more
        reason = result.get("reason")
        record = copy.deepcopy(self.records.all[trial.trial_id])
        record |= {
            "status": status,
            "figures": result if done else None,
            "history": history,
            "reason": reason,
            "elapsed": self.budget.elapsed() if elapsed is None else elapsed,
        }
        record["attempts"][-1][1:] = [self._event(), "done" if done else "failed", reason]
        self.records.write(record)
        self.report(describe(record, self.records.done(), self.budget.left()))

    def _differences(self, values):
        """What a trial has that the default values have not."""
        defaults = {hp.name: hp.default for hp in self.hyperparameters.space}
        own = {name: value for name, value in values.items() if not name.startswith("tuner/")}
        found = [
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in own.items()
            if value != defaults[name]
        ]
        epochs = values.get("tuner/epochs")
        text = ", ".join(found) or "the default values"
        return f"{text}; {epochs} epochs" if epochs else text

    def _adopt(self, trial, known):
        """Ends a trial with the result of a record that was not played."""
        before = self.records.all.get(trial.trial_id)
        if known["trial"] != trial.trial_id:
            if before is not None and before["status"] == "done":
                self._set_aside(before)
            folder = self.records.trial_folder(known["trial"])
            shutil.rmtree(self.records.trial_folder(trial.trial_id), ignore_errors=True)
            folder.rename(self.records.trial_folder(trial.trial_id))
        for number in (known["trial"], trial.trial_id):  # with the events of another life
            self.records.all.pop(number, None)
        self._begin(trial)
        result = {**known["figures"], "history": known["history"]}
        self._end(trial, result, known["elapsed"])

    def _set_aside(self, record):
        """Keeps a result whose number another trial takes now."""
        aside = f"{record['trial']}_before"
        self.records.trial_folder(record["trial"]).rename(self.records.trial_folder(aside))
        self.records.all.pop(record["trial"], None)
        self.records.write({**record, "trial": aside, "attempts": []})
        known = self._known.get(values_key(record["values"]))
        if known is not None:
            known["trial"] = aside

    def _event(self):
        self._events += 1
        return self._events - 1

    def _reason_to_stop(self):
        if self._retry_queue:
            return None if self.budget.left() > self.reserve() else "the time is over"
        if self._limit_reached() and not self.ongoing_trials:
            return f"all {self.limit} trials are done"
        failed = self.end_order[-FAILURES_IN_A_ROW:]
        if len(failed) == FAILURES_IN_A_ROW and all(
            self.trials[trial].status == TrialStatus.FAILED for trial in failed
        ):
            reason = self.records.all[failed[-1]]["reason"]
            return f"{FAILURES_IN_A_ROW} trials in a row failed, the last with {reason}"
        # At least one trial is made of any budget.
        over = self.budget.left() <= self.reserve() and self.end_order
        return "the time is over" if over else None

    def _limit_reached(self):
        begun = self.limit is not None and len(self.trials) >= self.limit
        return begun and not self._retry_queue

    def _random_values(self):
        if not self.trials:
            space = self.hyperparameters.copy()
            return {hp.name: hp.default for hp in space.space if space.is_active(hp)}
        return super()._random_values()

    def _retry(self, trial):
        if trial.status != TrialStatus.INVALID:
            return False
        if self._run_times[trial.trial_id] > self.max_retries_per_trial:
            trial.status = TrialStatus.FAILED
            return False
        self._retry_queue.append(trial.trial_id)
        return True

    def _check_consecutive_failures(self):
        """`_reason_to_stop` does it, in a sentence."""

    def save(self):
        """The records hold all."""

    def _save_trial(self, trial):
        """The records hold all."""


def message(trial, name=None, content=None):
    """A trial to be sent between chief and worker, with a dict in the place of its space.

    gRPC would round the values to float32, and loses why a trial failed.
    """
    hyperparameters = keras_tuner.HyperParameters()
    if name is not None:
        hyperparameters.values = {name: json.dumps(content)}
    sent = Trial(hyperparameters, trial.trial_id, trial.status)
    sent.score = trial.score
    return sent


def describe(record, done, seconds_left=math.inf):
    """A line about a trial that ended, and what is left."""
    line = f"trial {record['trial']}: "
    figures = record["figures"]
    if figures:
        line += f"macro F1 {figures['valid_macro_f1']:.4f} (epoch {figures['best_epoch']} of "
        line += f"{figures['epochs']}, {figures['seconds']:.0f} s)"
    else:
        again = ", tried once more" if record["status"] == "running" else ""
        line += f"failed{again}: {(record['reason'] or 'no reason').splitlines()[0][:200]}"
    if done:
        line += f"; best {done[0]['figures']['valid_macro_f1']:.4f}, trial {done[0]['trial']}"
    if not math.isinf(seconds_left):
        line += f"; {max(0.0, seconds_left) / 60:.1f} min left"
    return line
