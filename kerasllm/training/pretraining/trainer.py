"""Training by a plan: guarded, with checkpoints, and resumed as if it had never stopped."""

import contextlib
import math
import pathlib
import signal
import time

from kerasllm.training.pretraining.budget import BudgetKeeper
from kerasllm.training.pretraining.checkpoints import Checkpoints
from kerasllm.training.pretraining.guard import SpikeGuard
from kerasllm.training.pretraining.log import Board, StepTable
from kerasllm.training.pretraining.plan import TrainingPlan
from kerasllm.training.pretraining.prefetch import Prefetch
from kerasllm.training.pretraining.report import ProgressReport
from kerasllm.training.pretraining.signals import TrainingStopped, caught_signals


class Pretrainer:
    """Trains a model by a `TrainingPlan`, whatever happens on the way.

    All that a step does follows from its number, the seed and the variables: the rows of its batch,
    its learning rate, dropout's masks. A checkpoint holds the variables of the model, its random
    generators and the optimizer, and where the training was; so a training that was killed and goes
    on has the losses of one that was not, bit by bit.

    * Checkpoints are written by time, see `Checkpoints`. If the disk is full, that is said and
      training goes on; the last ones stay.
    * SIGTERM and SIGINT end the training after the group of steps under way, with a checkpoint and
      `TrainingStopped`.
    * A loss that is no number, or a spike (`SpikeGuard`), rewinds to the last checkpoint, from
      which training goes on with half the learning rate and the rows after those that did harm. If
      it goes wrong again before it is past that step, the checkpoint was bad already: it is
      deleted, and training goes on from the one before.
    * With `budget_seconds`, the plan's last step is moved at checkpoints to where the budget ends.

    `steps.csv` in the folder has a row for each step; `tensorboard/` the same by scalars.

    Args:
        steps: A `CompiledSteps`.
        make_batches: A function `(first_row, rows)` that gives the dict of arrays `(rows, ...)` of
            the model's inputs, the same for the same row whatever the number of rows.
        plan: The `TrainingPlan`; a checkpoint's own goes before it.
        folder: The run's folder.
        tokens_per_row: Tokens of a row.
        steps_per_call: Steps of a group, which is one compiled call. 1 by default.
        budget_seconds: Time for all steps together, those before a resume too; None keeps the plan.
        checkpoint_seconds: Time between checkpoints. 60 by default.
        report_seconds: Time between printed lines. 10 by default.
        flops_per_token: Arithmetic of a token, see `training_flops_per_token`; None for no share.
        peak_flops: What the machine can do in a second, see `measure_peak`.
        bits_per_nat: What turns the loss into the bits by character that are printed; None for the
            masked accuracy in their place.
        validate: A function without arguments that gives the validation loss, called ten times.
        max_rewinds: How often a training is rewound before it is given up. 3 by default.
        say: What takes the printed lines. `print` by default.
    """

    def __init__(
        self,
        steps,
        make_batches,
        plan,
        folder,
        tokens_per_row,
        steps_per_call=1,
        budget_seconds=None,
        checkpoint_seconds=60,
        report_seconds=10,
        flops_per_token=None,
        peak_flops=None,
        bits_per_nat=None,
        validate=None,
        max_rewinds=3,
        say=print,
    ):
        folder = pathlib.Path(folder)
        self.steps = steps
        self.make_batches = make_batches
        self.plan = plan
        self.folder = folder
        self.tokens_per_row = tokens_per_row
        self.steps_per_call = steps_per_call
        self.checkpoint_seconds = checkpoint_seconds
        self.report_seconds = report_seconds
        self.validate = validate
        self.max_rewinds = max_rewinds
        self.say = say

        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.guard = SpikeGuard()
        self._budget = BudgetKeeper(budget_seconds, say)
        self._board = Board(folder / "tensorboard")
        self._progress = ProgressReport(
            say, self._board, tokens_per_row, flops_per_token, peak_flops, bits_per_nat
        )
        self.step = 0
        self.seconds = 0.0  # of training, before the last resume
        self.row_offset = 0
        self.learning_rate_scale = 1.0
        self.rewinds = 0
        self.harmed_step = 0  # where the steps ended that were rewound
        self.accuracy = 0.0  # the running mean
        self.valid_loss = None

    @property
    def variables(self):
        """All variables that a checkpoint holds."""
        return [*self.steps.model.variables, *self.steps.optimizer.variables]

    def run(self):
        """Trains to the end of the plan, from the last checkpoint if there is one.

        Returns:
            A dict: `steps`, `tokens`, `seconds` (all of it, checkpoints and validation too),
            `tokens_per_second` and `share_of_peak` (of these seconds), `loss` and `accuracy`
            (running means), `overhead` (the share of the time, but for checkpoints and validation,
            in which no step ran).

        Raises:
            TrainingStopped: On SIGTERM or SIGINT; the state is saved.
            FloatingPointError: If the training went wrong more than `max_rewinds` times.
            OSError: If the first or the last checkpoint cannot be written.
        """
        resumed = self._restore()
        self._table = StepTable(self.folder / "steps.csv", self.step)
        if resumed:
            self.say(f"going on after step {self.step:,} of {self.plan.last_step:,}")
        else:
            self._save()
        with (
            caught_signals() as caught,
            Prefetch(self._make_group) as self._batches,
            contextlib.closing(self._board),
        ):
            self._begin()
            while self.step < self.plan.last_step:
                self._run_group()
                now = time.perf_counter()
                if caught:
                    self._stop(caught[0])
                # Not where training went wrong before: that would push out the good one.
                if (
                    now - self._last_save > self.checkpoint_seconds
                    and self.step >= self.harmed_step
                ):
                    self._checkpoint()
                if now - self._progress.time > self.report_seconds:
                    self._report()
            self._report()
        if self.step not in self.checkpoints.steps():
            self._save()
        return self._result()

    def _begin(self):
        self._progress.begin(self.step)
        self._budget.forget()
        self._started = self._last_save = time.perf_counter()
        self._first_step = self.step
        self._called_seconds = self._aside_seconds = 0.0

    def _elapsed(self):
        return self.seconds + time.perf_counter() - self._started

    # === One group of steps ===

    def _run_group(self):
        step, plan = self.step, self.plan
        count = self._group_size(step)
        batches = self._batches.take(step, count, self.row_offset)
        rates = [
            self.learning_rate_scale * plan.learning_rate(number)
            for number in range(step, step + count)
        ]
        next_count = self._group_size(step + count)
        if next_count:
            self._batches.start(step + count, next_count, self.row_offset)
        begun = time.perf_counter()
        losses, norms, accuracies = self.steps(batches, rates)
        self._called_seconds += time.perf_counter() - begun
        problem = self.guard.problem(losses.tolist(), norms.tolist())
        if problem:
            self._rewind(problem, step + count)
            return
        self.guard.take(losses.tolist(), norms.tolist())
        share = max(1 - 0.98**count, count / self.guard.steps)
        self.accuracy += share * (float(accuracies.mean()) - self.accuracy)
        self._table.write(step, losses, norms, accuracies, rates)
        self.step += count
        self._latest_norm = norms[-1]
        # The first group compiles.
        self._budget.count_from(self._elapsed(), plan.rows_before(self.step))
        if self.validate and int(10 * plan.progress(step)) < int(10 * plan.progress(self.step)):
            self._report()
            begun = time.perf_counter()
            self.valid_loss = float(self.validate())
            self._aside_seconds += time.perf_counter() - begun
            self.say(f"  validation loss {self.valid_loss:.4f}")
            self._board.write(self.step, valid_loss=self.valid_loss)

    def _group_size(self, step):
        return min(self.steps_per_call, self.plan.steps_alike(step))

    def _make_group(self, step, count, row_offset):
        rows = self.plan.rows(step)
        first = self.plan.rows_before(step) + row_offset
        arrays = self.make_batches(first, count * rows)
        return {
            name: array.reshape(count, rows, *array.shape[1:]) for name, array in arrays.items()
        }

    # === Checkpoints ===

    def _save(self):
        state = {
            "plan": self.plan.to_dict(),
            "steps_per_call": self.steps_per_call,
            "seconds": self._elapsed() if hasattr(self, "_started") else self.seconds,
            "row_offset": self.row_offset,
            "learning_rate_scale": self.learning_rate_scale,
            "rewinds": self.rewinds,
            "harmed_step": self.harmed_step,
            "accuracy": self.accuracy,
            "guard": self.guard.to_dict(),
        }
        try:
            self.checkpoints.save(self.step, self.variables, state)
        except OSError as error:
            steps = self.checkpoints.steps()
            last = f"the last one, of step {steps[-1]:,}, is whole" if steps else "there is none"
            reason = error.strerror or error
            raise OSError(
                f"The checkpoint of step {self.step:,} could not be written to"
                f" {self.checkpoints.folder} ({reason}); {last}."
            ) from error

    def _restore(self, before=None):
        found = self.checkpoints.restore(self.variables, self.say, before)
        if found is None:
            return False
        self.step, state = found
        self.plan = TrainingPlan(**state["plan"])
        self.steps_per_call = state["steps_per_call"]
        self.seconds = state["seconds"]
        self.row_offset = state["row_offset"]
        self.learning_rate_scale = state["learning_rate_scale"]
        self.rewinds = state["rewinds"]
        self.harmed_step = state.get("harmed_step", 0)
        self.accuracy = state["accuracy"]
        self.guard = SpikeGuard(**state["guard"])
        return True

    def _checkpoint(self):
        begun = time.perf_counter()
        self._budget.revise(self.plan, self.step, self._elapsed(), self.steps_per_call)
        try:
            self._save()
        except OSError as error:
            self.say(f"warning: {error} Training goes on; free some space.")
        self._aside_seconds += time.perf_counter() - begun
        self._last_save = time.perf_counter()

    def _stop(self, number):
        self._save()
        name = signal.Signals(number).name
        raise TrainingStopped(
            f"stopped by {name} after step {self.step:,} of {self.plan.last_step:,}; the "
            "checkpoint is saved, --resume goes on from it",
            number,
        )

    def _rewind(self, problem, end):
        """Goes back to a checkpoint, past the rows that did harm."""
        failed, rewinds, scale = self.step, self.rewinds + 1, self.learning_rate_scale
        if rewinds > self.max_rewinds:
            raise FloatingPointError(
                f"At step {failed:,} {problem}, after {self.max_rewinds} rewinds: training is given"
                " up. Take a lower learning rate; the last checkpoint is that of step"
                f" {self.checkpoints.steps()[-1]:,}."
            )
        seconds, offset, harmed = self.seconds, self.row_offset, self.harmed_step
        last = self.checkpoints.steps()[-1]
        self._restore(before=last if failed < harmed else None)
        self.seconds, self.rewinds, self.harmed_step = seconds, rewinds, max(harmed, end)
        self.row_offset = offset + self.plan.rows_before(end) - self.plan.rows_before(self.step)
        self.learning_rate_scale = scale / 2
        self._budget.forget()
        self.say(
            f"At step {failed:,} {problem}: rewound to step {self.step:,}, on with half the"
            f" learning rate and other rows (rewind {rewinds} of {self.max_rewinds})."
        )
        self._table = StepTable(self.folder / "steps.csv", self.step)
        self._progress.step = min(self._progress.step, self.step)
        self._checkpoint()
        if self.step < last:
            self.checkpoints.delete(last)

    # === What is told ===

    def _report(self):
        if self.step > self._progress.step:
            self._progress.write(
                self.plan,
                self.step,
                self.guard.loss,
                learning_rate=self.learning_rate_scale * self.plan.learning_rate(self.step - 1),
                gradient_norm=self._latest_norm,
                accuracy=self.accuracy,
            )

    def _result(self):
        seconds = self._elapsed()
        tokens = self.plan.rows_before(self.step) * self.tokens_per_row
        tokens_per_second = tokens / seconds if tokens else math.nan
        here = time.perf_counter() - self._started - self._aside_seconds
        ran = self.step > self._first_step
        return {
            "steps": self.step,
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": tokens_per_second,
            "share_of_peak": self._progress.share_of_peak(tokens_per_second),
            "loss": self.guard.loss,
            "accuracy": self.accuracy,
            "overhead": 1 - self._called_seconds / here if ran else None,
        }
