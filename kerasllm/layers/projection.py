"""The projections of Keras's attention layers on our own product, where that is the faster one."""

from keras import activations, ops

from kerasllm.ops.dense import dense, dense_is_fused


def project(layer, inputs, num_axes=1):
    """What `layer(inputs)` gives, for the `EinsumDense` layers in Keras's attention layers.

    They contract the last axes of their inputs with the first ones of their kernel, so they are
    dense layers in other shapes.

    Args:
        layer: The layer.
        inputs: `(batch, length, ...)` with `num_axes` axes to contract at the end.
        num_axes: 1, or 2 for the projection of an attention layer's output.

    Returns:
        `(batch, length, ...)`, the kernel's other axes at the end.
    """
    if (
        not dense_is_fused(inputs)
        or layer.activation not in (None, activations.linear)
        or layer.quantization_mode is not None
        or layer.activity_regularizer is not None
    ):
        return layer(inputs)
    kernel = ops.cast(layer.kernel, layer.compute_dtype)
    kept = kernel.shape[num_axes:]
    rows, leading = ops.cast(inputs, layer.compute_dtype), ops.shape(inputs)[:-num_axes]
    if num_axes > 1:
        rows = ops.reshape(rows, (*leading, _product(kernel.shape[:num_axes])))
    outputs = dense(
        rows,
        ops.reshape(kernel, (-1, _product(kept))),
        None if layer.bias is None else ops.reshape(layer.bias, (-1,)),
    )
    return outputs if len(kept) == 1 else ops.reshape(outputs, (*leading, *kept))


def _product(sizes):
    result = 1
    for size in sizes:
        result *= size
    return result
