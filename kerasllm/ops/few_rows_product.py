"""A few rows times a matrix, on any backend."""

from keras import ops

from kerasllm.ops.decoding import is_decoding
from kerasllm.ops.dispatch import served

MAX_ROWS = 16


def few_rows_served(inputs):
    """Whether `few_rows_product` should multiply these inputs: inside of `decoding()`, where the op
    serves, with up to 16 rows in all.

    Args:
        inputs: `(..., depth)`.
    """
    if not is_decoding() or not served("few_rows_product", inputs.dtype):
        return False
    rows = 1
    for size in inputs.shape[:-1]:
        if size is None:
            return False
        rows *= size
    return rows <= MAX_ROWS


def few_rows_product(inputs, kernel, bias=None, transposed=False, outputs_dtype=None):
    """`inputs @ kernel + bias`, without a gradient.

    On TensorFlow, in float32 and bfloat16, one fused op, `kerasllm_ops.few_rows_product`; elsewhere
    the same in keras.ops.

    Args:
        inputs: `(..., depth)`; the op is made for up to 16 rows in all.
        kernel: `(depth, columns)`, or `(columns, depth)` if `transposed`.
        bias: `(columns,)`, or None.
        transposed: Whether the kernel is given transposed.
        outputs_dtype: `"float32"`, or by default the dtype of `inputs`.

    Returns:
        `(..., columns)`.
    """
    (outputs,) = few_rows_products(inputs, [kernel], [bias], transposed, outputs_dtype)
    return outputs


def few_rows_products(inputs, kernels, biases, transposed=False, outputs_dtype=None):
    """`few_rows_product` of the same inputs with several kernels, in one op.

    Args:
        inputs: `(..., depth)`.
        kernels: A list of up to 4 kernels; they may differ in `columns`.
        biases: A list of biases or Nones.
        transposed: Whether the kernels are given transposed.
        outputs_dtype: See `few_rows_product`.

    Returns:
        A list of `(..., columns)`, with the bits of each product alone.
    """
    if not served("few_rows_product", inputs.dtype):
        return [
            composed_few_rows_product(inputs, kernel, bias, transposed, outputs_dtype)
            for kernel, bias in zip(kernels, biases, strict=True)
        ]
    from kerasllm_ops.few_rows_product import few_rows_products as fused

    kernels = [ops.convert_to_tensor(kernel, dtype=inputs.dtype) for kernel in kernels]
    biases = [
        None if bias is None else ops.convert_to_tensor(bias, dtype=inputs.dtype) for bias in biases
    ]
    shape = ops.shape(inputs)
    rows = ops.reshape(inputs, (-1, shape[-1]))
    outputs = fused(rows, kernels, biases, transposed=transposed, outputs_dtype=outputs_dtype)
    return [ops.reshape(each, (*shape[:-1], each.shape[-1])) for each in outputs]


def composed_few_rows_product(inputs, kernel, bias=None, transposed=False, outputs_dtype=None):
    """`few_rows_product` in keras.ops; the arguments and the result are the same."""
    kernel = ops.convert_to_tensor(kernel, dtype=inputs.dtype)
    outputs = ops.matmul(inputs, ops.transpose(kernel) if transposed else kernel)
    outputs = outputs if bias is None else outputs + ops.cast(bias, outputs.dtype)
    return ops.cast(outputs, outputs_dtype or inputs.dtype)
