"""A few rows times a matrix, as in decoding."""

import tensorflow as tf

from kerasllm_ops.loader import load, required_ops


def few_rows_product(inputs, kernel, bias=None, transposed=False, outputs_dtype=None, name=None):
    """`inputs @ kernel + bias` for so few rows that memory's bandwidth is the limit.

    The kernel passes by once, in the order in which it lies in memory. Sums are float32 whatever
    the dtype of the tensors, and do not depend on the number of threads. For decoding: there is no
    gradient, and no kernel for XLA.

    Args:
        inputs: float32 or bfloat16 `(rows, depth)`; made for up to 16 rows.
        kernel: `(depth, columns)`, or `(columns, depth)` if `transposed`.
        bias: `(columns,)`, or None.
        transposed: Whether the kernel is given transposed, as an embedding matrix is.
        outputs_dtype: `"float32"` for the sums as they are; the dtype of `inputs` by default.
        name: The op's name.

    Returns:
        `(rows, columns)`.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If shapes do not fit each other.
    """
    (outputs,) = few_rows_products(inputs, [kernel], [bias], transposed, outputs_dtype, name)
    return outputs


def few_rows_products(
    inputs, kernels, biases=None, transposed=False, outputs_dtype=None, name=None
):
    """`few_rows_product` of the same inputs with up to 4 kernels, such as those of query, key and
    value: threads are woken up once for all of them.

    Args:
        inputs: float32 or bfloat16 `(rows, depth)`.
        kernels: A list of kernels; they may differ in `columns`.
        biases: A list of biases or Nones; or None for no biases at all.
        transposed: Whether the kernels are given transposed.
        outputs_dtype: See `few_rows_product`.
        name: The op's name.

    Returns:
        A list of `(rows, columns)`, with the bits of each product alone.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If shapes do not fit each other, or there are too many kernels.
    """
    inputs = tf.convert_to_tensor(inputs)
    none = tf.zeros((0,), inputs.dtype)
    biases = [None] * len(kernels) if biases is None else biases
    return required_ops("few_rows_product").kerasllm_few_rows_product(
        inputs=inputs,
        kernels=kernels,
        biases=[none if bias is None else bias for bias in biases],
        transposed=transposed,
        U=outputs_dtype or inputs.dtype,
        name=name,
    )


if load().ops is not None:
    tf.no_gradient("KerasllmFewRowsProduct")
