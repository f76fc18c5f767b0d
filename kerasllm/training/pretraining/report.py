"""How far a training is, and how fast it goes."""

import time

from kerasllm.training.pretraining.log import format_count, format_time


class ProgressReport:
    """A printed line now and then, and the same as scalars for TensorBoard.

    Args:
        say: What takes the lines.
        board: The `Board`.
        tokens_per_row: Tokens of a row.
        flops_per_token: Arithmetic of a token; None for no share of the peak.
        peak_flops: What the machine can do in a second.
        bits_per_nat: What turns the loss into bits by character; None for the accuracy.
    """

    def __init__(self, say, board, tokens_per_row, flops_per_token, peak_flops, bits_per_nat):
        self.say = say
        self.board = board
        self.tokens_per_row = tokens_per_row
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.bits_per_nat = bits_per_nat
        self.time = self.step = None

    def begin(self, step):
        """Counts from this step and from now on."""
        self.time, self.step = time.perf_counter(), step

    def write(self, plan, step, loss, **values):
        """Reports on the steps since the last report.

        Args:
            plan: The `TrainingPlan`.
            step: Number of steps done, more than at the last report.
            loss: The running mean, in nats.
            **values: More scalars; `accuracy` is one of them.
        """
        now, rows_done = time.perf_counter(), plan.rows_before(step)
        tokens = (rows_done - plan.rows_before(self.step)) * self.tokens_per_row
        tokens_per_second = tokens / (now - self.time)
        tokens_left = (plan.rows_before(plan.last_step) - rows_done) * self.tokens_per_row
        self.time, self.step = now, step
        share = self.share_of_peak(tokens_per_second)
        bits = None if self.bits_per_nat is None else loss * self.bits_per_nat
        parts = [
            f"step {step:,} of {plan.last_step:,}",
            f"loss {loss:.4f}",
            f"accuracy {values['accuracy']:.3f}"
            if bits is None
            else f"{bits:.3f} bits per character",
            f"{format_count(tokens_per_second)} tokens/s",
        ]
        if share is not None:
            parts.append(f"{share:.0%} of peak")
        parts.append(f"{format_time(tokens_left / tokens_per_second)} left")
        self.say(f"{plan.progress(step):4.0%}  " + ", ".join(parts))
        self.board.write(
            step,
            loss=loss,
            bits_per_character=bits,
            tokens_per_second=tokens_per_second,
            share_of_peak=share,
            **values,
        )

    def share_of_peak(self, tokens_per_second):
        """The share of the machine's peak arithmetic at that speed, or None."""
        if not self.flops_per_token or not self.peak_flops:
            return None
        return tokens_per_second * self.flops_per_token / self.peak_flops
