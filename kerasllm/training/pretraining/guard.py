"""What tells a training that has gone wrong from one that goes its way."""

import dataclasses
import math

# Of the running means: about the last 50 steps count.
_DECAY = 0.98


@dataclasses.dataclass
class SpikeGuard:
    """Watches losses and gradient norms.

    A step is bad whose loss or norm is no finite number. A group of steps is bad whose mean loss
    lies `max_rise` above the running mean, or whose least gradient norm is `max_norm_ratio` times
    the running mean of norms: a single large gradient is clipped and does no harm, but where all
    are large the weights are no longer near where they were.

    Args:
        max_rise: In nats. 1.0 by default.
        max_norm_ratio: 20 by default.
        steps: Steps seen; the first 50 are never a spike.
        loss: Running mean of the losses.
        norm: Running mean of the gradients' norms.
    """

    max_rise: float = 1.0
    max_norm_ratio: float = 20.0
    steps: int = 0
    loss: float = 0.0
    norm: float = 0.0

    def problem(self, losses, norms):
        """What is wrong with a group of steps, as part of a sentence, or None.

        Args:
            losses: Their losses, floats.
            norms: Their gradients' norms, floats.
        """
        for name, values in (("loss", losses), ("gradient norm", norms)):
            for value in values:
                if not math.isfinite(value):
                    return f"the {name} is {value}"
        mean, least = sum(losses) / len(losses), min(norms)
        if self.steps >= 50:
            if mean > self.loss + self.max_rise:
                return f"the loss rose from {self.loss:.3f} to {mean:.3f}"
            if least > self.norm * self.max_norm_ratio:
                return f"the gradient norm rose from {self.norm:.3g} to {least:.3g}"
        return None

    def take(self, losses, norms):
        """Counts a good group of steps in."""
        for loss, norm in zip(losses, norms, strict=True):
            self.steps += 1
            # While few were seen, the mean of all of them.
            share = max(1 - _DECAY, 1 / self.steps)
            self.loss += share * (loss - self.loss)
            self.norm += share * (norm - self.norm)

    def to_dict(self):
        """As a dict that JSON can hold, for `SpikeGuard(**values)`."""
        return dataclasses.asdict(self)
