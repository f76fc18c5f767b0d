"""The GPU kernels where there is no GPU: they compile for all targets without spills, the library
that has them loads, and a GPU that is asked for is refused by TensorFlow."""

import pathlib
import sys

import numpy as np
import pytest

from kerasllm import native

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "tf_kernels").glob("*/*_cuda.cu"))
TARGETS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")

sys.path.insert(0, str(ROOT / "tf_kernels"))
import cuda_usage  # noqa: E402

REPORT = """\
ptxas info    : Compiling entry function 'first' for 'sm_90'
ptxas info    : Function properties for first
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 128 bytes smem
ptxas info    : Compiling entry function 'second' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 26 registers
"""


def test_the_report_of_ptxas_is_read():
    first, second = cuda_usage.parse(REPORT)
    assert (first.kernel, first.registers, first.shared, first.spilled) == ("first", 40, 128, 12)
    assert (second.kernel, second.registers, second.shared, second.spilled) == ("second", 26, 0, 0)


@pytest.mark.slow
@pytest.mark.skipif(cuda_usage.find_nvcc() is None, reason="there is no nvcc here")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_kernels_compile_without_spills(source, target):
    usages = cuda_usage.measure(source, target)
    spilled = [usage for usage in usages if usage.spilled]
    assert not spilled and (usages or source.stem == "cuda_runtime_cuda")


needs_kernels = pytest.mark.skipif(
    not native.info()["gpu_targets"], reason="the native library was built without GPU kernels"
)


@needs_kernels
def test_info_names_targets_and_families():
    info = native.info()
    assert info["gpu_targets"] == [*TARGETS, "ptx"]
    assert {"layer_norm", "gelu", "embedding", "adamw"} <= set(info["gpu"])


@needs_kernels
def test_ops_work_and_a_gpu_is_refused_where_there_is_none():
    import tensorflow as tf
    from kerasllm_ops.gelu import gelu

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU here")
    inputs = np.linspace(-2, 2, 12, dtype="float32").reshape(3, 4)
    expected = tf.nn.gelu(inputs)
    np.testing.assert_allclose(gelu(tf.constant(inputs)), expected, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="GPU"), tf.device("/GPU:0"):
        gelu(tf.constant(inputs))
