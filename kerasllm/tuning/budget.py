"""The time that a search may take."""

import math
import time


class Budget:
    """The time that a search may take.

    Args:
        seconds: All of it; None for any time.
        used: What earlier runs of the same search took of it.
    """

    def __init__(self, seconds=None, used=0.0):
        self.seconds, self.used = seconds, used
        self._begun = time.monotonic()

    def elapsed(self):
        """Seconds used so far."""
        return self.used + time.monotonic() - self._begun

    def left(self):
        """Seconds left; infinite without a limit."""
        return math.inf if self.seconds is None else self.seconds - self.elapsed()
