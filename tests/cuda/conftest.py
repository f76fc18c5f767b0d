"""The GPU kernels, on a GPU where there is one and emulated on the CPU where they were built so.

Nothing here imports TensorFlow, Keras or kerasllm. `make test-gpu` runs these tests on a machine
with a GPU, nvcc, PyTorch and pytest; elsewhere those of the GPU are skipped with the reason.
"""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

torch = pytest.importorskip("torch")

from benchmarks.cuda import launchers  # noqa: E402


def _gpu():
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here that PyTorch can use")
    if not launchers.LIBRARY.is_file():
        pytest.skip(f"{launchers.LIBRARY} is not there; make test-gpu builds it")
    return launchers.Launchers(launchers.LIBRARY, "cuda")


def _emulated():
    if not launchers.EMULATED_LIBRARY.is_file():
        pytest.skip(f"{launchers.EMULATED_LIBRARY} is not there; make test-native builds it")
    return launchers.Launchers(launchers.EMULATED_LIBRARY, "cpu")


@pytest.fixture(scope="session", params=["gpu", "emulated"])
def kernels(request):
    """The launchers, of the GPU and emulated."""
    return _gpu() if request.param == "gpu" else _emulated()
