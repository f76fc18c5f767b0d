"""A matrix product and a bias, on any backend."""

import keras
from keras import ops


def linear(inputs, kernel, bias=None):
    """`inputs @ kernel + bias`.

    On TensorFlow the product is one of matrices and the bias a BiasAdd: in a graph TensorFlow makes
    one op of the two, and the bias costs no pass over memory.

    Args:
        inputs: `(..., input_dim)`.
        kernel: `(input_dim, units)`.
        bias: `(units,)`, or None.

    Returns:
        `(..., units)`.
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
    if keras.backend.backend() != "tensorflow" or len(inputs.shape) < 2:
        return False
    import tensorflow as tf

    if isinstance(inputs, tf.SparseTensor) or not tf.is_tensor(inputs):
        return False
    dtypes = {keras.backend.standardize_dtype(each.dtype) for each in (inputs, kernel, bias)}
    return len(dtypes) == 1 and dtypes <= {"float32", "bfloat16", "float16", "float64"}
