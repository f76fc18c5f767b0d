"""From a model to a trained one within a budget: what the pretraining recipes have in common."""

import json
import pathlib
import time

import keras

from kerasllm.files import atomic_write
from kerasllm.optimizers import AdamW
from kerasllm.training.pretraining.machine import measure_peak
from kerasllm.training.pretraining.measure import measure_step_seconds
from kerasllm.training.pretraining.plan import TrainingPlan
from kerasllm.training.pretraining.steps import CompiledSteps
from kerasllm.training.pretraining.trainer import Pretrainer

PLAN_FILE = "plan.json"
# The share of the peak that a model is expected to reach, before it has been measured.
_EXPECTED_SHARE = 0.4


class PretrainingRun:
    """One run of a pretraining recipe: measures the machine, makes the plan, trains.

    What was decided is kept as `plan.json` in the run's folder, so that a resumed run decides the
    same: the shape of the model, the machine's peak, the plan.

    Args:
        folder: The run's folder.
        budget_seconds: Time for everything from the making of this object on, or None.
        train_steps: Number of steps where there is no budget.
        dtype: A dtype policy, `"float32"` or `"mixed_bfloat16"`.
        seed: An integer.
        say: What takes printed lines.

    Raises:
        ValueError: If neither a budget nor a number of steps is given, or `plan.json` is damaged.
    """

    def __init__(
        self, folder, budget_seconds=None, train_steps=None, dtype="float32", seed=0, say=print
    ):
        if (budget_seconds is None) == (train_steps is None):
            raise ValueError("Give a budget of time or a number of steps, one of the two.")
        self.started = time.perf_counter()
        self.folder = pathlib.Path(folder)
        self.budget_seconds = budget_seconds
        self.train_steps = train_steps
        self.dtype = dtype
        self.seed = seed
        self.say = say
        self.decided = self._read()

    @property
    def peak_flops(self):
        """The machine's peak in the dtype of the model's products, measured once."""
        if "peak_flops" not in self.decided:
            dtype = "bfloat16" if "bfloat16" in self.dtype else "float32"
            seconds = min(1.5, 0.02 * (self.budget_seconds or 50))
            self.decided["peak_flops"] = measure_peak(dtype, seconds)
        return self.decided["peak_flops"]

    def expected_flops(self):
        """The arithmetic that the budget, or what is left of it, will have time for, about."""
        if self.budget_seconds is None:
            return None
        return 0.9 * self._left() * _EXPECTED_SHARE * self.peak_flops

    def check_corpus(self, cache):
        """Refuses a corpus with other tokens than those that the run has learned from so far.

        Args:
            cache: The `TokenCache` of the texts to learn from, that `open_token_cache` gave.

        Raises:
            ValueError: If they are others.
        """
        if self.decided.setdefault("corpus_checksum", cache.checksum) != cache.checksum:
            why = f" ({cache.rebuilt})" if cache.rebuilt else ""
            raise ValueError(
                f"{self.folder} cannot be resumed: the tokens of the corpus are not those that the"
                f" run has learned from{why}. Bring the files back as they were, or start in "
                "another folder."
            )

    def build(self, make_model, weight_decay=0.1, beta_2=0.98, ignored_label=-1):
        """The model and its compiled steps, the same at every call.

        Args:
            make_model: A function without arguments.
            weight_decay: Of all matrices.
            beta_2: Of AdamW.
            ignored_label: See `CompiledSteps`.

        Returns:
            A `CompiledSteps`.
        """
        keras.utils.clear_session()
        keras.utils.set_random_seed(self.seed)
        model = make_model()
        optimizer = AdamW(1e-3, weight_decay=weight_decay, beta_2=beta_2, global_clipnorm=1.0)
        optimizer.exclude_from_weight_decay(
            [weight for weight in model.trainable_weights if len(weight.shape) < 2]
        )
        return CompiledSteps(model, optimizer, ignored_label)

    def plan(self, steps, make_batches, shape, flops_per_token, forward_tokens=0, **schedule):
        """Makes the plan, unless the folder has one.

        Args:
            steps: The `CompiledSteps`.
            make_batches: See `Pretrainer`.
            shape: Has `batch_size`, `length` and `learning_rate`.
            flops_per_token: See `training_flops_per_token`.
            forward_tokens: Tokens that will be evaluated after training.
            **schedule: `warmup_share` and `ramp` of `TrainingPlan.from_rows`.
        """
        if "plan" in self.decided:
            return
        if self.budget_seconds is None:
            plan = TrainingPlan(
                self.train_steps,
                shape.batch_size,
                shape.learning_rate,
                max(1, round(schedule.get("warmup_share", 0.03) * self.train_steps)),
            )
            self.decided.update(steps_per_call=min(8, self.train_steps), train_seconds=None)
        else:
            rows = shape.batch_size
            seconds = measure_step_seconds(steps, make_batches, rows, 0.01 * self.budget_seconds)
            token_seconds = seconds / (rows * shape.length)
            share = flops_per_token / token_seconds / self.peak_flops
            self.say(
                f"measured: {seconds * 1e3:.1f} ms a step, {1 / token_seconds:,.0f} tokens/s,"
                f" {share:.0%} of the machine's {self.peak_flops / 1e9:,.0f} GFLOP/s"
            )
            # Forward is a third of a step; loading, saving and the unforeseen take their part.
            reserve = forward_tokens * token_seconds / 2 + min(60, 2 + 0.01 * self.budget_seconds)
            train_seconds = max(0.3 * self.budget_seconds, self._left() - reserve)
            plan = TrainingPlan.from_rows(
                0.98 * train_seconds / seconds * rows, rows, shape.learning_rate, **schedule
            )
            calls = max(1, min(32, int(0.5 / seconds)))
            self.decided.update(steps_per_call=calls, train_seconds=train_seconds)
        self.decided.update(
            plan=plan.to_dict(), peak_flops=self.peak_flops, token_flops=flops_per_token
        )
        with atomic_write(self.folder / PLAN_FILE) as file:
            json.dump(self.decided, file, indent=1)

    def trainer(self, steps, make_batches, tokens_per_row, **options):
        """The `Pretrainer` of the plan.

        Args:
            steps: The `CompiledSteps`.
            make_batches: See `Pretrainer`.
            tokens_per_row: See there.
            **options: Others of `Pretrainer`.
        """
        decided, budget = self.decided, self.budget_seconds or 600
        if options.get("checkpoint_seconds") is None:
            options["checkpoint_seconds"] = min(1800, max(10, budget / 20))
        options.setdefault("report_seconds", min(60, max(1, budget / 40)))
        return Pretrainer(
            steps,
            make_batches,
            TrainingPlan(**decided["plan"]),
            self.folder,
            tokens_per_row,
            steps_per_call=decided["steps_per_call"],
            budget_seconds=decided["train_seconds"],
            flops_per_token=decided["token_flops"],
            peak_flops=decided["peak_flops"],
            say=self.say,
            **options,
        )

    def _left(self):
        return self.budget_seconds - (time.perf_counter() - self.started)

    def _read(self):
        path = self.folder / PLAN_FILE
        if not path.is_file():
            return {}
        try:
            decided = json.loads(path.read_bytes())
            TrainingPlan(**decided["plan"])
            return decided
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is damaged ({error!r}). Delete {self.folder} to start afresh."
            ) from error
