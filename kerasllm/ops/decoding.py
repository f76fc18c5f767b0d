"""Where layers take the ops that serve decoding alone."""

import contextlib
import threading

_LOCAL = threading.local()


@contextlib.contextmanager
def decoding():
    """What is called or traced inside is for inference of a few tokens: no gradient will be asked
    for, and nothing is compiled by XLA."""
    before = is_decoding()
    _LOCAL.active = True
    try:
        yield
    finally:
        _LOCAL.active = before


def is_decoding():
    """Whether this is inside of `decoding()`."""
    return getattr(_LOCAL, "active", False)
