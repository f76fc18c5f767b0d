"""Signals that ask a training to end."""

import contextlib
import signal


class TrainingStopped(Exception):
    """A signal asked the training to end; its state is saved."""

    def __init__(self, message, signal_number):
        super().__init__(message)
        self.signal_number = signal_number


@contextlib.contextmanager
def caught_signals():
    """A list into which SIGTERM and SIGINT are put in place of ending the process."""
    caught, before = [], {}
    # Only the main thread may set handlers; elsewhere signals do what they did.
    with contextlib.suppress(ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, lambda number, _: caught.append(number))
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
