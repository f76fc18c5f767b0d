"""The plan of a training that ends with its budget: steps, batch ramp, learning rate."""

import bisect
import dataclasses
import math

# A ramp: until this share of the steps, rows of a batch by this part of the full batch. Early
# gradients agree with each other, so a small batch learns as much from fewer tokens (McCandlish et
# al., An Empirical Model of Large-Batch Training, 2018).
DEFAULT_RAMP = ((0.1, 4), (0.25, 2))


@dataclasses.dataclass
class TrainingPlan:
    """What happens at each step, as a function of the step alone.

    The budget is of time, but a plan is of steps, fixed once the time of a step was measured: so a
    training that was broken off goes on exactly as it would have. Where the measured time turns out
    wrong, `revise` changes the number of steps still to come, from a step at which the plan is
    saved with a checkpoint; what came before stays as it was.

    The learning rate rises in a line over the warm-up and then falls in a line to 0 at the last
    step (Bergsma et al., Straight to Zero: Why Linearly Decaying the Learning Rate to Zero Works
    Best for LLMs, 2025).

    Attributes:
        total_steps: Number of steps when the plan was made.
        batch_size: Rows of a full batch.
        peak_learning_rate: The highest.
        warmup_steps: Steps until it is reached.
        ramp: A list of `(step, rows)`: from this step on, the batch has so many rows. By default
            the full batch from the start.
        revisions: A list of `(step, progress, total_steps)`: at this step, reached with that share
            of the plan done, the last step became another.
    """

    total_steps: int
    batch_size: int
    peak_learning_rate: float
    warmup_steps: int
    ramp: list = None
    revisions: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        if self.total_steps < 1 or self.batch_size < 1:
            raise ValueError(
                f"A plan of {self.total_steps} steps of {self.batch_size} rows; expected 1 or more."
            )
        self.ramp = [tuple(stage) for stage in self.ramp or [(0, self.batch_size)]]
        self.revisions = [tuple(revision) for revision in self.revisions]

    @classmethod
    def from_rows(cls, rows, batch_size, peak_learning_rate, warmup_share=0.03, ramp=DEFAULT_RAMP):
        """The plan that takes about so many rows in all.

        Args:
            rows: Rows that the budget has time for.
            batch_size: Rows of a full batch.
            peak_learning_rate: The highest learning rate.
            warmup_share: Share of the steps in which it rises.
            ramp: A tuple of `(share, divisor)`: until that share of the steps, batches are this
                many times smaller; empty for none.
        """
        stages = [(share, max(1, batch_size // divisor)) for share, divisor in ramp]
        begins = [0.0, *(share for share, _ in stages)]
        sizes = [*(size for _, size in stages), batch_size]
        mean = sum(
            (end - begin) * size
            for begin, end, size in zip(begins, [*begins[1:], 1.0], sizes, strict=True)
        )
        total_steps = max(1, round(rows / mean))
        return cls(
            total_steps,
            batch_size,
            peak_learning_rate,
            math.ceil(warmup_share * total_steps),
            [(int(begin * total_steps), size) for begin, size in zip(begins, sizes, strict=True)],
        )

    @property
    def last_step(self):
        """Number of steps, with all revisions."""
        return self.revisions[-1][2] if self.revisions else self.total_steps

    def rows(self, step):
        """Rows of the batch at a step."""
        return self.ramp[self._stage(step)][1]

    def steps_alike(self, step):
        """How many steps from this one on have a batch of the same size."""
        stage = self._stage(step)
        end = self.last_step
        if stage + 1 < len(self.ramp):
            end = min(end, self.ramp[stage + 1][0])
        return max(0, end - step)

    def rows_before(self, step):
        """Rows that all steps before this one take."""
        ends = [*(begin for begin, _ in self.ramp[1:]), math.inf]
        return sum(
            max(0, min(step, end) - begin) * rows
            for (begin, rows), end in zip(self.ramp, ends, strict=True)
        )

    def progress(self, step):
        """The share of the plan that is done before a step, from 0 to 1."""
        begin, done, total = 0, 0.0, self.total_steps
        for revision in self.revisions:
            if revision[0] <= step:
                begin, done, total = revision
        if total <= begin:
            return 1.0
        return min(1.0, done + (1 - done) * (step - begin) / (total - begin))

    def learning_rate(self, step):
        """The learning rate at a step."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.peak_learning_rate * warmup * (1 - self.progress(step))

    def revise(self, step, last_step):
        """Makes another step the last, from this one on."""
        self.revisions.append((step, self.progress(step), max(step, last_step)))

    def to_dict(self):
        """As a dict that JSON can hold, for `TrainingPlan(**values)`."""
        return dataclasses.asdict(self)

    def _stage(self, step):
        return bisect.bisect_right([begin for begin, _ in self.ramp], step) - 1
