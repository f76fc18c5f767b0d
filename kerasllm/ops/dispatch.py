"""When a fused op serves."""

import contextlib
import contextvars
import functools
import importlib
import warnings

import keras

from kerasllm import native

DTYPES = ("float32", "bfloat16")
GPU_DTYPES = (*DTYPES, "float16")

# Families whose ops run on a GPU. Where there is one, the others are left to keras.ops, which does
# too: an op without a kernel for the device would have its tensors copied to the CPU and back.
# Families that work on strings stay on the CPU.
GPU_FAMILIES = frozenset(
    (
        "adamw",
        "attention",
        "cached_attention",
        "dropout",
        "embedding",
        "gelu",
        "layer_norm",
        "linear_cross_entropy",
        "lstm",
    )
)

_composed = contextvars.ContextVar("kerasllm_composed", default=False)


@contextlib.contextmanager
def composed_only():
    """Inside of it no fused op serves: what is traced has only ops of Keras's backend."""
    token = _composed.set(True)
    try:
        yield
    finally:
        _composed.reset(token)


def served(family, dtype):
    """Whether the fused op of a family takes tensors of this dtype here.

    Args:
        family: The family's name, such as `"lstm"`.
        dtype: The tensors' dtype, such as `"float32"`.
    """
    return why_not_served(family, dtype) is None


def why_not_served(family, dtype):
    """Why the fused op of a family does not take tensors of this dtype here, as a sentence; None
    where it does. The arguments are those of `served`."""
    if _composed.get():
        return "only composed ops are asked for"
    if not native.in_use():
        return "the native library is not in use"
    dtype = keras.backend.standardize_dtype(dtype)
    has_gpu = native.has_gpu()
    dtypes = GPU_DTYPES if has_gpu else DTYPES
    if dtype not in dtypes:
        return f"its dtype is {dtype}; the ops take {', '.join(dtypes[:-1])} and {dtypes[-1]}"
    if not has_gpu:
        return None
    if family not in GPU_FAMILIES:
        return "there is a GPU, for which the op has no kernel yet"
    return native.why_no_gpu_kernels()


def compiled_by_xla():
    """Whether a function with jit_compile=True is being traced.

    TensorFlow has no public function that says so. Where a version lacks the internal one, a
    warning says it once, and the answer is no: results are the same, some products slower.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    if tf.executing_eagerly():
        return False
    in_xla_context = _tensorflow_in_xla_context()
    return in_xla_context is not None and in_xla_context(tf.compat.v1.get_default_graph())


@functools.cache
def _tensorflow_in_xla_context():
    """TensorFlow's own function of a graph, or None."""
    try:
        module = importlib.import_module("tensorflow.python.ops.control_flow_util")
        return module.GraphOrParentsInXlaContext
    except (ImportError, AttributeError):
        import tensorflow as tf

        warnings.warn(
            f"TensorFlow {tf.__version__} does not say whether XLA compiles a function: the dense"
            " op of kerasllm, which is for those, is not used. Results are the same; bfloat16"
            " products under jit_compile=True are slower.",
            stacklevel=2,
        )
        return None
