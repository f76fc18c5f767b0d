"""The native library: is it there, what is it, and if not, why not and what mends that.

`python -m kerasllm.native` prints `info()`.
"""

import os
import warnings

import keras
from kerasllm_ops.loader import load


def info():
    """What there is to know about the native library.

    Returns:
        A dict with
        `found` (bool), `problem` and `mend` (str or None: why it is not used and what to do),
        `library` (its path, or None),
        `tensorflow_built_against` and `tensorflow_running` (str or None),
        `compiler` (str or None),
        `instruction_sets` (list of str: those compiled),
        `instruction_sets_here` (list of str: those that this processor runs),
        `instruction_set` (the one in use, or None),
        `ops` (list of str: the names of the ops), and
        `xla` (whether `jit_compile=True` works with them, or why not).
    """
    library = load()
    here, active, problem = [], None, library.problem
    if library.handle is not None:
        index = 0
        while name := library.handle.kerasllm_isa_name(index):
            if library.handle.kerasllm_isa_supported(index):
                here.append(name.decode())
            index += 1
        active = library.handle.kerasllm_active_isa().decode()
    return {
        "found": library.ops is not None,
        "problem": problem,
        "mend": library.mend,
        "library": str(library.path) if library.path else None,
        "tensorflow_built_against": library.build_info.get("tensorflow_version"),
        "tensorflow_running": library.tensorflow_version,
        "compiler": library.build_info.get("compiler"),
        "instruction_sets": library.build_info.get("instruction_sets", []),
        "instruction_sets_here": here,
        "instruction_set": active,
        "ops": _op_names(library.ops),
        "xla": library.ops is not None and (library.xla_problem or True),
    }


def _op_names(ops):
    if ops is None:
        return []
    return sorted(name for name in dir(ops) if name.startswith("Kerasllm"))


def in_use():
    """Whether fused ops serve the layers: the library is loaded and Keras runs on TensorFlow."""
    return keras.config.backend() == "tensorflow" and load().ops is not None


def announce():
    """Says once, when kerasllm is imported, that the native library is missing and what mends it.

    `KERASLLM_NATIVE=0` asks for silence, `KERASLLM_NATIVE=1` for an error.

    Raises:
        ImportError: If the library is missing and `KERASLLM_NATIVE=1`.
    """
    wish = os.environ.get("KERASLLM_NATIVE", "")
    if wish not in ("", "0", "1"):
        raise ImportError(f"KERASLLM_NATIVE is {wish!r}; it takes 0 (off) or 1 (required).")
    if wish == "0":
        return
    if keras.config.backend() != "tensorflow":
        problem, mend = f"Keras runs on {keras.config.backend()}", "set KERAS_BACKEND=tensorflow"
    else:
        library = load()
        problem, mend = library.problem, library.mend
        if library.ops is not None:
            problem = library.handle.kerasllm_isa_error().decode()
            if problem:
                warnings.warn(f"kerasllm: {problem}.", RuntimeWarning, stacklevel=3)
            return
    sentence = f"kerasllm runs without its fused ops, on Keras's own: {problem}."
    if mend:
        sentence += f" To mend it: {mend}."
    if wish == "1":
        raise ImportError(f"{sentence} (KERASLLM_NATIVE=1 asks for an error.)")
    warnings.warn(sentence, RuntimeWarning, stacklevel=3)
