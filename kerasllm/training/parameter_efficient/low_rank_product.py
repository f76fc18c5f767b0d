"""A matrix product whose kernel is a frozen matrix and one of low rank."""

from keras import ops

from kerasllm.ops.dense import dense


def low_rank_product(inputs, kernel, left, right, bias=None):
    """`inputs @ (kernel + left @ right) + bias`, with no gradient for the kernel.

    Forward the sum is made once, in float32, and the product is one, as fast as without the update
    and that of the merged layer. Backward the gradient of the sum, a product as large as the
    forward one, is never made: those of the factors are `x' (g right')` and `(x left)' g`.

    Args:
        inputs: `(..., inputs)` in any float dtype.
        kernel: `(inputs, outputs)`, float32. Its gradient is zero.
        left: `(inputs, rank)`, float32.
        right: `(rank, outputs)`, float32.
        bias: `(outputs,)` in any float dtype, or None.

    Returns:
        `(..., outputs)` in the dtype of `inputs`.
    """

    @ops.custom_gradient
    def product(inputs, kernel, left, right, *bias):
        effective = ops.cast(kernel + ops.matmul(left, right), inputs.dtype)

        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            rows = ops.reshape(inputs, (-1, kernel.shape[0]))
            gradients = ops.reshape(upstream, (-1, kernel.shape[1]))
            narrow_gradients = ops.matmul(gradients, ops.transpose(ops.cast(right, inputs.dtype)))
            narrow_rows = ops.matmul(rows, ops.cast(left, inputs.dtype))
            return (
                ops.reshape(ops.matmul(gradients, ops.transpose(effective)), ops.shape(inputs)),
                ops.zeros_like(kernel),
                ops.cast(ops.matmul(ops.transpose(rows), narrow_gradients), left.dtype),
                ops.cast(ops.matmul(ops.transpose(narrow_rows), gradients), right.dtype),
                *(ops.sum(gradients, axis=0) for _ in bias),
            )

        return dense(inputs, effective, *bias), gradient

    # Reshaped, variables are tensors: a gradient of one's own is not for variables.
    weights = [kernel, left, right]
    if bias is not None:
        weights.append(ops.cast(bias, inputs.dtype))
    return product(inputs, *(ops.reshape(weight, weight.shape) for weight in weights))
