"""Two dense layers with an activation between them, the feed-forward branch of a transformer."""

import tensorflow as tf

from kerasllm_ops.dense import dense
from kerasllm_ops.loader import load, required_ops

# What the kernels take for inputs; and the activations.
DTYPES = ("float32", "bfloat16")
KINDS = ("erf", "tanh", "silu", "relu")


def feed_forward(
    inputs,
    hidden_kernel,
    hidden_bias,
    output_kernel,
    output_bias,
    kind="erf",
    gated=False,
    keep_hidden=True,
    name=None,
):
    """`act(inputs @ hidden_kernel + hidden_bias) @ output_kernel + output_bias`.

    Rows pass through both products in blocks, so that what lies between them never leaves the
    cache. The branch is that of Vaswani et al., Attention Is All You Need, 2017; gated, `act(gate)
    * value` goes on, as in Shazeer, GLU Variants Improve Transformer, 2020.

    Args:
        inputs: float32 or bfloat16, `(..., input_dim)`.
        hidden_kernel: In the dtype of `inputs`, `(input_dim, dim)`; gated, `(input_dim, 2 * dim)`,
            that of the gate and beside it that of the value.
        hidden_bias: float32, as long as a row of `hidden_kernel`; or None.
        output_kernel: In the dtype of `inputs`, `(dim, output_dim)`.
        output_bias: float32, `(output_dim,)`; or None.
        kind: `"erf"` or `"tanh"` for the GELU, exact or approximated, `"silu"` or `"relu"`.
        gated: Whether the activation is gated.
        keep_hidden: Whether the first product is written to memory, from which the gradient is
            made. Without, a gradient is made all the same, but computes that product again.
        name: The op's name.

    Returns:
        `(..., output_dim)` in the dtype of `inputs`.

    Raises:
        RuntimeError: If the native library is not there.
        ValueError: If `kind` is another.
        InvalidArgumentError: If shapes do not fit each other.
    """
    outputs, _ = required_ops("feed_forward").kerasllm_feed_forward(
        inputs=inputs,
        hidden_kernel=hidden_kernel,
        hidden_bias=tf.zeros((0,)) if hidden_bias is None else hidden_bias,
        output_kernel=output_kernel,
        output_bias=tf.zeros((0,)) if output_bias is None else output_bias,
        kind=kind,
        gated=gated,
        keep_hidden=keep_hidden,
        name=name,
    )
    return outputs


def _gradient(op, d_outputs, _):
    inputs, hidden_kernel, hidden_bias, output_kernel, output_bias = op.inputs
    ops = load().ops
    if op.get_attr("keep_hidden"):
        hidden = op.outputs[1]
    else:
        hidden = dense(inputs, hidden_kernel, None if hidden_bias.shape[0] == 0 else hidden_bias)
    d_inputs, d_hidden, activated, d_hidden_bias = ops.kerasllm_feed_forward_grad(
        hidden_kernel=hidden_kernel,
        output_kernel=output_kernel,
        hidden=hidden,
        d_outputs=d_outputs,
        kind=op.get_attr("kind"),
        gated=op.get_attr("gated"),
    )
    return [
        d_inputs,
        ops.kerasllm_dense_kernel_grad(inputs=inputs, d_outputs=d_hidden),
        None if hidden_bias.shape[0] == 0 else d_hidden_bias,
        ops.kerasllm_dense_kernel_grad(inputs=activated, d_outputs=d_outputs),
        None if output_bias.shape[0] == 0 else ops.kerasllm_dense_bias_grad(d_outputs=d_outputs),
    ]


def _no_second_gradient(op, *_):
    raise NotImplementedError(
        "The fused feed-forward branch has no second derivative. For one (a gradient penalty, a "
        "Hessian), switch the fused ops off with KERASLLM_NATIVE=0."
    )


if load().ops is not None:
    tf.RegisterGradient("KerasllmFeedForward")(_gradient)
    tf.RegisterGradient("KerasllmFeedForwardGrad")(_no_second_gradient)
