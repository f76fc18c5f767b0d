"""scikit-build-core, asked to build against the TensorFlow that will run the result.

TensorFlow's C++ interface changes with each minor version. pip builds in an environment of its own,
where it would put the newest TensorFlow; if the environment that kerasllm is installed into already
has one, the same version is asked for here.

Where no native library can be built (no C++ compiler, not Linux on x86-64), the package is built
without one and says so when it is imported.
"""

import os
import pathlib
import platform
import shutil
import sys
import sysconfig

from scikit_build_core import build as _build
from scikit_build_core.build import *  # noqa: F403


def _installed_tensorflow():
    """The requirement that names the TensorFlow of the environment installed into, if any."""
    folder = pathlib.Path(sysconfig.get_path("purelib"))
    for name in ("tensorflow", "tensorflow_cpu"):
        for found in folder.glob(f"{name}-*.dist-info"):
            version = found.name.removesuffix(".dist-info").split("-")[1]
            return f"tensorflow-cpu=={version}"  # the same interface, half the download
    return "tensorflow-cpu"


def _why_not_native():
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"{sys.platform} on {platform.machine()} has no native library yet"
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None and shutil.which("g++") is None:
        return "no C++ compiler was found; install g++ 11 or later"
    return None


def _requirements(config_settings, standard):
    if _why_not_native():
        return []
    return [*standard(config_settings), _installed_tensorflow()]


def get_requires_for_build_wheel(config_settings=None):
    return _requirements(config_settings, _build.get_requires_for_build_wheel)


def get_requires_for_build_editable(config_settings=None):
    return _requirements(config_settings, _build.get_requires_for_build_editable)


def _settings(config_settings):
    reason = _why_not_native()
    if reason is None:
        return config_settings
    print(f"kerasllm: building without the native library: {reason}", file=sys.stderr)
    return {**(config_settings or {}), "wheel.cmake": "false"}


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return _build.build_wheel(wheel_directory, _settings(config_settings), metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _build.build_editable(wheel_directory, _settings(config_settings), metadata_directory)


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    return _build.prepare_metadata_for_build_wheel(metadata_directory, _settings(config_settings))


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    return _build.prepare_metadata_for_build_editable(
        metadata_directory, _settings(config_settings)
    )
