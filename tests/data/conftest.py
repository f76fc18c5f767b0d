"""Fixtures of the tests of `kerasllm.data`."""

import os
import pathlib
import subprocess
import sys

import pytest

import kerasllm

# Stands in for the package's own __init__, which loads the models and with them TensorFlow.
_PREAMBLE = """
import sys, types
sys.modules["kerasllm"] = types.ModuleType("kerasllm")
sys.modules["kerasllm"].__path__ = [{folder!r}]
"""


@pytest.fixture(scope="session")
def run_data_code():
    """A function that runs code in a new process with `kerasllm.data` alone: gives its output."""

    def run(code, **environment):
        preamble = _PREAMBLE.format(folder=str(pathlib.Path(kerasllm.__file__).parent))
        finished = subprocess.run(
            [sys.executable, "-c", preamble + code],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run
