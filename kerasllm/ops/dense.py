"""A dense layer's product with its bias, on any backend."""

from keras import backend, ops

from kerasllm.ops.dispatch import compiled_by_xla, served
from kerasllm.ops.few_rows_product import few_rows_product, few_rows_served

# Below so many rows a product is bound by reading the kernel, and packing it first does not pay,
# but where XLA would widen a bfloat16 kernel to float32 at every call.
FEWEST_ROWS = 32


def dense(inputs, kernel, bias=None):
    """`inputs @ kernel + bias`.

    In programs that XLA compiles for the CPU, in float32 and bfloat16, one fused op,
    `kerasllm_ops.dense`: XLA multiplies bfloat16 no faster than float32. Decoding, with a few rows
    at a time, `few_rows_product`. Everywhere else TensorFlow's, which no kernel of ours has
    beaten (`python -m benchmarks dense`).

    Args:
        inputs: `(..., input_dim)`.
        kernel: `(input_dim, units)` in the dtype of `inputs`.
        bias: `(units,)`; or None.

    Returns:
        `(..., units)` in the dtype of `inputs`.
    """
    kernel = ops.convert_to_tensor(kernel)
    bias = None if bias is None else ops.convert_to_tensor(bias)
    if few_rows_served(inputs):
        return few_rows_product(inputs, kernel, bias)
    if not _dense_served(inputs.dtype) or has_too_few_rows(inputs):
        return composed_dense(inputs, kernel, bias)
    from kerasllm_ops.dense import dense as fused

    return fused(inputs, kernel, None if bias is None else ops.cast(bias, "float32"))


def composed_dense(inputs, kernel, bias=None):
    """`dense` in keras.ops; the arguments and the result are the same.

    On TensorFlow the product is one of matrices and the bias a BiasAdd: in a graph TensorFlow makes
    one op of the two, and the bias costs no pass over memory.
    """
    if bias is None or not _is_tensorflow(inputs, kernel, bias):
        products = ops.matmul(inputs, kernel)
        return products if bias is None else ops.add(products, bias)
    import tensorflow as tf

    shape = ops.shape(inputs)
    rows = inputs if len(shape) == 2 else tf.reshape(inputs, (-1, shape[-1]))
    outputs = tf.nn.bias_add(tf.matmul(rows, kernel), bias)
    if len(shape) == 2:
        return outputs
    return ops.reshape(outputs, (*shape[:-1], kernel.shape[-1]))


def _is_tensorflow(inputs, kernel, bias):
    """Whether these are dense tensors of one dtype that TensorFlow can multiply."""
    if backend.backend() != "tensorflow" or len(inputs.shape) < 2:
        return False
    import tensorflow as tf

    if isinstance(inputs, tf.SparseTensor) or not tf.is_tensor(inputs):
        return False
    dtypes = {backend.standardize_dtype(each.dtype) for each in (inputs, kernel, bias)}
    return len(dtypes) == 1 and dtypes <= {"float32", "bfloat16", "float16", "float64"}


def dense_is_fused(inputs):
    """Whether `dense` may take an op of ours for these inputs `(..., input_dim)` at this place."""
    return few_rows_served(inputs) or _dense_served(inputs.dtype)


def _dense_served(dtype):
    return served("dense", dtype) and compiled_by_xla()


def has_too_few_rows(inputs):
    """Whether `(..., input_dim)` has fewer rows than it pays to pack a kernel for."""
    if backend.standardize_dtype(inputs.dtype) == "bfloat16" and compiled_by_xla():
        return False
    rows = 1
    for size in inputs.shape[:-1]:
        if size is None:
            return False
        rows *= size
    return rows < FEWEST_ROWS
