"""Finds libkerasllm_ops.so, checks that it fits the TensorFlow that runs, and loads it.

A library that was built against another minor version of TensorFlow is refused before it is opened:
TensorFlow's C++ interface changes with each, and what would follow is an undefined symbol or a
crash. The kernels for XLA are a library of their own, used if it can be loaded.
"""

import ctypes
import functools
import importlib.metadata
import json
import os
import pathlib
from dataclasses import dataclass, field

LIBRARY = "libkerasllm_ops.so"
XLA_LIBRARY = "libkerasllm_xla.so"
BUILD_INFO = "build_info.json"


@dataclass(frozen=True)
class LoadedLibrary:
    """What came of looking for the native library.

    Attributes:
        ops: The module with the ops, from `tf.load_op_library`, or `None`.
        path: The library's file, or `None` if none was found.
        problem: Why there are no ops, in one sentence; `None` where there are.
        mend: What the user can do about it; `None` where there is nothing to do.
        build_info: What the build recorded: TensorFlow's version, compiler, instruction sets.
        tensorflow_version: The TensorFlow that runs, or `None` where there is none.
        handle: The library for `ctypes`, or `None`.
        xla_problem: Why the ops have no kernels for XLA (`jit_compile=True`), or `None`.
    """

    ops: object = None
    path: pathlib.Path | None = None
    problem: str | None = None
    mend: str | None = None
    build_info: dict = field(default_factory=dict)
    tensorflow_version: str | None = None
    handle: object = None
    xla_problem: str | None = None


def find_file(name):
    """The path of a file that the build installed, or `None`.

    In an installed wheel it lies beside this module. In an editable install this module stays in
    the source tree while what was built lies in site-packages: there the distribution knows it.
    """
    beside = pathlib.Path(__file__).with_name(name)
    if beside.is_file():
        return beside
    try:
        files = importlib.metadata.files("kerasllm") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == name and file.parent.name == "kerasllm_ops":
            path = pathlib.Path(file.locate())
            return path if path.is_file() else None
    return None


def minor_version(version):
    """`"2.21.0"` -> `(2, 21)`."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def check_build(build_info, tensorflow_version):
    """Whether a library so built can be loaded into this TensorFlow.

    Args:
        build_info: What the build recorded, a dict with `"tensorflow_version"`.
        tensorflow_version: The version that runs.

    Returns:
        `None` if it can, else `(problem, mend)`.
    """
    built_against = build_info.get("tensorflow_version")
    if not built_against:
        return (
            f"the native library's {BUILD_INFO} does not say which TensorFlow it was built against",
            "install kerasllm again",
        )
    if minor_version(built_against) != minor_version(tensorflow_version):
        return (
            f"the native library was built against TensorFlow {built_against} and cannot be loaded "
            f"into {tensorflow_version}",
            "install kerasllm again in this environment (pip install --force-reinstall --no-deps), "
            f"or TensorFlow {'.'.join(built_against.split('.')[:2])}",
        )
    return None


def _read_build_info(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


@functools.cache
def load():
    """Loads the library once per process; never raises.

    `KERASLLM_NATIVE=0` switches it off.

    Returns:
        A `LoadedLibrary`.
    """
    if os.environ.get("KERASLLM_NATIVE") == "0":
        return LoadedLibrary(problem="KERASLLM_NATIVE=0 switches the native library off")
    library, build_file = find_file(LIBRARY), find_file(BUILD_INFO)
    if library is None or build_file is None:
        return LoadedLibrary(
            problem="kerasllm was installed without its native library",
            mend="install g++ 11 or later (Linux on x86-64) and kerasllm again",
        )
    build_info = _read_build_info(build_file)
    found = {"path": library, "build_info": build_info}
    try:
        import tensorflow as tf
    except ImportError as error:
        return LoadedLibrary(
            problem=f"TensorFlow cannot be imported: {error}",
            mend="pip install tensorflow",
            **found,
        )
    found["tensorflow_version"] = tf.__version__
    refused = check_build(build_info, tf.__version__)
    if refused:
        return LoadedLibrary(problem=refused[0], mend=refused[1], **found)
    try:
        ops = tf.load_op_library(str(library))
        handle = ctypes.CDLL(str(library))
    except (tf.errors.OpError, OSError) as error:
        return LoadedLibrary(
            problem=f"the native library does not load: {error}",
            mend="install kerasllm again",
            **found,
        )
    for name in ("kerasllm_active_isa", "kerasllm_isa_error", "kerasllm_isa_name"):
        getattr(handle, name).restype = ctypes.c_char_p
    return LoadedLibrary(ops=ops, handle=handle, xla_problem=_load_xla(), **found)


def required_ops(family):
    """The module with the ops; for a family's wrapper, which cannot do without.

    Raises:
        RuntimeError: If the native library is not there; the message says why and what mends it.
    """
    library = load()
    if library.ops is None:
        mend = f" To mend it: {library.mend}." if library.mend else ""
        raise RuntimeError(
            f"kerasllm_ops.{family} needs the native library: {library.problem}.{mend}"
        )
    return library.ops


def _load_xla():
    """Loads the kernels for XLA; why not, or `None`."""
    library = find_file(XLA_LIBRARY)
    if library is None:
        return f"{XLA_LIBRARY} is not installed"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return None
