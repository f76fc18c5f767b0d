"""The native library: is it there, what is it, and if not, why not and what mends that.

`python -m kerasllm.native` prints `info()`.
"""

import functools
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
        `ops` (list of str: the names of the ops),
        `xla` (whether `jit_compile=True` works with them, or why not),
        `gpu_targets` (list of str: what GPU kernels were compiled for), and
        `gpu` (whether there is a GPU and kernels for it, or why not).
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
        "gpu_targets": library.build_info.get("gpu_targets", []),
        "gpu": library.ops is not None and (_why_no_gpu() or True),
    }


def _op_names(ops):
    if ops is None:
        return []
    return sorted(name for name in dir(ops) if name.startswith("Kerasllm"))


def has_gpu():
    """Whether TensorFlow sees a GPU."""
    return bool(_capabilities())


@functools.cache
def why_no_gpu_kernels():
    """Why the ops have no kernels for the GPUs that TensorFlow sees, as a sentence; None where they
    have, and where there is no GPU."""
    build_info = load().build_info
    targets = build_info.get("gpu_targets", [])
    if not targets:
        reason = build_info.get("why_no_gpu") or "it was built by an older version"
        return f"the native library has no GPU kernels: {reason}"
    for name, capability in _capabilities().items():
        if not runs_on(targets, capability):
            text = ".".join(map(str, capability))
            return f"{name} is of compute capability {text}; kernels are for {', '.join(targets)}"
    return None


def runs_on(targets, capability):
    """Whether one of the targets runs on a GPU of this compute capability.

    Args:
        targets: List of str, such as `"sm_86"`, code for GPUs of the same major version, or
            `"compute_90"`, which the driver compiles for any later one.
        capability: `(major, minor)`.
    """
    for target in targets:
        kind, _, number = target.partition("_")
        if not number.isdigit():
            continue
        wanted = divmod(int(number), 10)
        if wanted <= tuple(capability) and (kind == "compute" or wanted[0] == capability[0]):
            return True
    return False


@functools.cache
def _capabilities():
    """The compute capabilities of the GPUs that TensorFlow sees, by their names."""
    import tensorflow as tf

    found = {}
    for device in tf.config.get_visible_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        found[device.name] = details.get("compute_capability", (0, 0))
    return found


def _why_no_gpu():
    if load().build_info.get("gpu_targets") and not has_gpu():
        return "TensorFlow sees no GPU"
    return why_no_gpu_kernels()


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
