"""libkerasllm_text.so: text processing in C++ for `ctypes`, without TensorFlow."""

import ctypes
import functools
import os

from kerasllm_ops.loader import find_file

LIBRARY = "libkerasllm_text.so"


@functools.cache
def load():
    """Opens the library once per process; never raises.

    `KERASLLM_NATIVE=0` switches it off.

    Returns:
        `(library, problem)`: a `ctypes.CDLL` and None, or None and why there is none.
    """
    if os.environ.get("KERASLLM_NATIVE") == "0":
        return None, "KERASLLM_NATIVE=0 switches the native library off"
    path = find_file(LIBRARY)
    if path is None:
        return None, "kerasllm was installed without its native library"
    try:
        return ctypes.CDLL(str(path)), None
    except OSError as error:
        return None, f"the native library does not load: {error}"
