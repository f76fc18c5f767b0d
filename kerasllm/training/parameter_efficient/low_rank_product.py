"""A matrix product whose kernel is a frozen matrix and one of low rank."""

from keras import ops


def low_rank_product(inputs, kernel, left, right):
    """`inputs @ (kernel + left @ right)`, with gradients for inputs, left and right only.

    Forward the sum is made once and the product is one, as fast as without the update and with the
    bits of the merged layer, in bfloat16 too. Backward the gradient of the sum, a product as large
    as the forward one, is never made: those of the factors are `x' (g right')` and `(x left)' g`.

    Args:
        inputs: `(..., inputs)` in any float dtype.
        kernel: `(inputs, outputs)`, float32. Its gradient is zero.
        left: `(inputs, rank)`, float32.
        right: `(rank, outputs)`, float32.

    Returns:
        `(..., outputs)` in the dtype of `inputs`.
    """

    @ops.custom_gradient
    def product(inputs, kernel, left, right):
        effective = ops.cast(kernel + ops.matmul(left, right), inputs.dtype)

        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            rows = ops.reshape(inputs, (-1, kernel.shape[0]))
            gradients = ops.reshape(upstream, (-1, kernel.shape[1]))
            narrow_gradients = ops.matmul(gradients, ops.transpose(ops.cast(right, inputs.dtype)))
            narrow_rows = ops.matmul(rows, ops.cast(left, inputs.dtype))
            return (
                ops.matmul(upstream, ops.transpose(effective)),
                ops.zeros_like(kernel),
                ops.cast(ops.matmul(ops.transpose(rows), narrow_gradients), left.dtype),
                ops.cast(ops.matmul(ops.transpose(narrow_rows), gradients), right.dtype),
            )

        return ops.matmul(inputs, effective), gradient

    # Reshaped, variables are tensors: a gradient of one's own is not for variables.
    matrices = (ops.reshape(matrix, matrix.shape) for matrix in (kernel, left, right))
    return product(inputs, *matrices)
