"""A dense layer's product with its bias."""

import tensorflow as tf

from kerasllm_ops.loader import load, required_ops

DTYPES = ("float32", "bfloat16")  # what the kernels take for inputs


def dense(inputs, kernel, bias=None, name=None):
    """`inputs @ kernel + bias`, summed up in float32.

    Args:
        inputs: float32 or bfloat16, `(..., input_dim)`.
        kernel: In the dtype of `inputs`, `(input_dim, units)`.
        bias: float32, `(units,)`; or None.
        name: The op's name.

    Returns:
        `(..., units)` in the dtype of `inputs`.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If shapes do not fit each other.
    """
    return required_ops("dense").kerasllm_dense(
        inputs=inputs,
        kernel=kernel,
        bias=tf.zeros((0,)) if bias is None else bias,
        name=name,
    )


# The product is linear in each operand, so its gradients are of its own kind, and have gradients.


def _gradient(op, d_outputs):
    inputs, kernel, bias = op.inputs
    ops = load().ops
    return [
        ops.kerasllm_dense_inputs_grad(kernel=kernel, d_outputs=d_outputs),
        ops.kerasllm_dense_kernel_grad(inputs=inputs, d_outputs=d_outputs),
        None if bias.shape[0] == 0 else ops.kerasllm_dense_bias_grad(d_outputs=d_outputs),
    ]


def _inputs_gradient(op, dd_inputs):
    kernel, d_outputs = op.inputs
    return [
        load().ops.kerasllm_dense_kernel_grad(inputs=dd_inputs, d_outputs=d_outputs),
        dense(dd_inputs, kernel),
    ]


def _kernel_gradient(op, dd_kernel):
    inputs, d_outputs = op.inputs
    return [
        load().ops.kerasllm_dense_inputs_grad(kernel=dd_kernel, d_outputs=d_outputs),
        dense(inputs, dd_kernel),
    ]


def _bias_gradient(op, dd_bias):
    d_outputs = op.inputs[0]
    return tf.broadcast_to(tf.cast(dd_bias, d_outputs.dtype), tf.shape(d_outputs))


if load().ops is not None:
    tf.RegisterGradient("KerasllmDense")(_gradient)
    tf.RegisterGradient("KerasllmDenseInputsGrad")(_inputs_gradient)
    tf.RegisterGradient("KerasllmDenseKernelGrad")(_kernel_gradient)
    tf.RegisterGradient("KerasllmDenseBiasGrad")(_bias_gradient)
