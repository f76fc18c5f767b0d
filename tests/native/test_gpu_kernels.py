"""The GPU kernels where there is no GPU: the ops that have them are those that layers take, the
library with them loads, a GPU that is not there is refused, and no kernel spills registers."""

import pathlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasllm
from kerasllm import native
from kerasllm.ops import dispatch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tf_kernels"))
import cuda_usage  # noqa: E402

SOURCES = sorted((ROOT / "tf_kernels").glob("*/*_cuda.cu"))
TARGETS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")
TEXT_FAMILIES = {"jieba", "text_cleaning", "text_encoding", "wordpiece"}
FAMILIES = {path.parent.name for path in (ROOT / "tf_kernels").glob("*/*_op.cc")}
# Ops that are not named after their family.
FAMILY_OF_OP = {"Characters": "text_encoding", "Vocabulary": "text_encoding"}

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
needs_kernels = pytest.mark.skipif(
    not native.info()["gpu_targets"], reason="the native library was built without GPU kernels"
)
needs_no_gpu = pytest.mark.skipif(native.has_gpu(), reason="there is a GPU here")


def family_of(op):
    name = op.removeprefix("Kerasllm")
    for prefix, family in FAMILY_OF_OP.items():
        if name.startswith(prefix):
            return family
    fitting = [f for f in FAMILIES if name.startswith(f.title().replace("_", ""))]
    return max(fitting, key=len)


def kernels_of(op):
    """The op's kernels as TensorFlow's registry has them."""
    registry = pytest.importorskip("tensorflow.python.framework.kernels")
    return list(registry.get_registered_kernels_for_op(op).kernel)


@needs_native
@needs_kernels
def test_the_table_of_dispatch_is_what_is_registered():
    seen = set()
    for op in native.info()["ops"]:
        family, devices = family_of(op), {kernel.device_type for kernel in kernels_of(op)}
        seen.add(family)
        assert "CPU" in devices, op
        assert ("GPU" in devices) == (family in dispatch.GPU_FAMILIES), (op, devices)
        # What XLA compiles on the CPU, it compiles on the GPU that has the op.
        both = "XLA_CPU_JIT" in devices and family in dispatch.GPU_FAMILIES
        assert ("XLA_GPU_JIT" in devices) == both, (op, devices)
        if family in TEXT_FAMILIES:
            assert devices == {"CPU"}, (op, devices)
    assert seen == FAMILIES


@needs_native
@needs_kernels
def test_gpu_kernels_take_every_dtype_of_dispatch():
    wanted = {tf.as_dtype(dtype).as_datatype_enum for dtype in dispatch.GPU_DTYPES}
    for op in native.info()["ops"]:
        if family_of(op) not in dispatch.GPU_FAMILIES or op == "KerasllmAdamw":
            continue
        found = set()
        for kernel in kernels_of(op):
            if kernel.device_type == "GPU":
                found |= {v for c in kernel.constraint for v in c.allowed_values.list.type}
        assert found == wanted, op


@needs_native
@needs_no_gpu
def test_info_says_what_was_built():
    info = native.info()
    if info["gpu_targets"]:
        assert info["gpu"] == "TensorFlow sees no GPU"
    else:
        assert "no GPU kernels: " in info["gpu"]


@pytest.fixture
def as_if(monkeypatch):
    """A function that makes TensorFlow seem to see GPUs, dict of names and compute capabilities,
    and the library to be built so."""
    real = native.load()

    def pretend(capabilities, **build_info):
        library = type(real)(ops=real.ops, handle=real.handle, build_info=build_info)
        monkeypatch.setattr(native, "load", lambda: library)
        monkeypatch.setattr(native, "_capabilities", lambda: capabilities)
        native.why_no_gpu_kernels.cache_clear()

    yield pretend
    native.why_no_gpu_kernels.cache_clear()


BUILT = [*TARGETS, "compute_90"]


@needs_native
def test_a_library_without_gpu_kernels_leaves_the_gpu_to_keras(as_if):
    as_if({"GPU:0": (9, 0)}, gpu_targets=[], why_no_gpu="no nvcc was found")
    assert native.info()["gpu"] == "the native library has no GPU kernels: no nvcc was found"
    assert dispatch.why_not_served("gelu", "float32") == native.info()["gpu"]


@needs_native
def test_a_gpu_that_no_kernel_is_for_is_left_to_keras(as_if):
    as_if({"GPU:0": (9, 0), "GPU:1": (7, 0)}, gpu_targets=BUILT)
    sentence = dispatch.why_not_served("gelu", "float32")
    assert sentence.startswith("GPU:1 is of compute capability 7.0; kernels are for sm_75, ")


@pytest.mark.parametrize(
    ("capability", "targets", "runs"),
    [
        ((7, 5), BUILT, True),
        ((8, 7), BUILT, True),  # code of sm_86
        ((12, 0), BUILT, True),  # the driver compiles compute_90
        ((7, 2), BUILT, False),
        ((9, 0), ["sm_80"], False),  # of another major version
        ((8, 0), ["sm_86"], False),
        ((8, 9), ["compute_75"], True),
    ],
)
def test_which_targets_run_on_a_gpu(capability, targets, runs):
    assert native.runs_on(targets, capability) == runs


@needs_native
def test_where_there_is_a_gpu_no_op_without_a_kernel_for_it_is_called(as_if, monkeypatch):
    import kerasllm_ops.attention
    import kerasllm_ops.dense
    import kerasllm_ops.few_rows_product
    import kerasllm_ops.linear_cross_entropy

    as_if({"GPU:0": (9, 0)}, gpu_targets=BUILT)
    called = []
    for module, name in (
        (kerasllm_ops.attention, "attention"),
        (kerasllm_ops.dense, "dense"),
        (kerasllm_ops.few_rows_product, "few_rows_products"),
        (kerasllm_ops.linear_cross_entropy, "linear_cross_entropy"),
    ):
        real = getattr(module, name)

        def fused(*arguments, real=real, name=name, **options):
            called.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, fused)
    x = tf.ones((2, 3, 4))
    tf.function(lambda: kerasllm.ops.dense(tf.ones((64, 4)), tf.ones((4, 5))), jit_compile=True)()
    kerasllm.ops.few_rows_product(x, tf.ones((4, 5)))
    kerasllm.ops.attention(*[tf.ones((1, 3, 2, 4))] * 3)
    kerasllm.ops.linear_cross_entropy(x, tf.ones((5, 4)), tf.zeros((2, 3), tf.int32))
    assert set(called) == {"attention", "linear_cross_entropy"} & dispatch.GPU_FAMILIES
    for family in FAMILIES - TEXT_FAMILIES - dispatch.GPU_FAMILIES:
        assert not dispatch.served(family, "float32"), family
    assert dispatch.served("gelu", "float16")


@needs_native
def test_on_a_gpu_the_lstm_layer_is_left_to_cudnn_unless_told_otherwise(as_if):
    as_if({"GPU:0": (9, 0)}, gpu_targets=BUILT)
    assert "cuDNN" in kerasllm.layers.LSTM(3).why_not_fused()
    assert kerasllm.layers.LSTM(3, use_cudnn=False).why_not_fused() is None


@needs_native
@needs_no_gpu
def test_a_gpu_that_is_not_there_is_refused():
    """TensorFlow puts what it can on the CPU, as its own ops; where it must not, it refuses."""
    x = tf.constant(np.linspace(-2, 2, 12, dtype="float32"))
    before = tf.config.get_soft_device_placement()
    tf.config.set_soft_device_placement(False)
    try:
        with tf.device("/GPU:0"), pytest.raises(tf.errors.InvalidArgumentError, match="GPU:0"):
            kerasllm.ops.gelu(x)
    finally:
        tf.config.set_soft_device_placement(before)
    from kerasllm_ops.gelu import gelu

    with pytest.raises(tf.errors.NotFoundError, match="KerasllmGelu"):
        gelu(tf.cast(x, "float16"))
    # Layers take Keras's own operations for what only GPUs have.
    np.testing.assert_allclose(
        kerasllm.ops.gelu(tf.cast(x, "float16")),
        keras.activations.gelu(x).numpy().astype("float16"),
        atol=2e-3,
    )


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
    assert not [usage for usage in usages if usage.spilled]
    assert usages or source.stem == "cuda_runtime_cuda"
