"""Two dense layers with an activation between them, on any backend."""

from keras import ops

from kerasllm.ops.dense import composed_dense, dense, has_too_few_rows
from kerasllm.ops.dispatch import served
from kerasllm.ops.gelu import composed_gelu, gelu


def feed_forward(
    inputs,
    hidden_kernel,
    hidden_bias,
    output_kernel,
    output_bias,
    kind="erf",
    gated=False,
    training=False,
):
    """`act(inputs @ hidden_kernel + hidden_bias) @ output_kernel + output_bias`.

    On TensorFlow on the CPU, in float32 and bfloat16 and from 32 rows on, one fused op,
    `kerasllm_ops.feed_forward`, whose activations are never in memory as a whole; elsewhere `dense`
    and `gelu` one after the other. The branch: Vaswani et al., Attention Is All You Need, 2017;
    gated, `act(gate) * value` goes on: Shazeer, GLU Variants Improve Transformer, 2020.

    The hidden bias is added and the activation computed in float32, also to bfloat16 inputs.

    Args:
        inputs: `(..., input_dim)`.
        hidden_kernel: In the dtype of `inputs`, `(input_dim, dim)`; gated, `(input_dim, 2 * dim)`,
            that of the gate and beside it that of the value.
        hidden_bias: As long as a row of `hidden_kernel`, in any float dtype; or None.
        output_kernel: In the dtype of `inputs`, `(dim, output_dim)`.
        output_bias: `(output_dim,)`, in any float dtype; or None.
        kind: `"erf"` or `"tanh"` for the GELU, exact or approximated, `"silu"` or `"relu"`.
        gated: Whether the activation is gated.
        training: Whether gradients will be asked for: the first product is kept for them then.
            Without, they are there too, but compute it again.

    Returns:
        `(..., output_dim)` in the dtype of `inputs`.
    """
    if not feed_forward_is_fused(inputs):
        hidden = gelu(dense(inputs, hidden_kernel), hidden_bias, kind, gated)
        return dense(hidden, output_kernel, _cast(output_bias, hidden.dtype))
    from kerasllm_ops.feed_forward import feed_forward as fused

    return fused(
        inputs,
        hidden_kernel,
        _cast(hidden_bias, "float32"),
        output_kernel,
        _cast(output_bias, "float32"),
        kind=kind,
        gated=gated,
        keep_hidden=bool(training),
    )


def composed_feed_forward(
    inputs, hidden_kernel, hidden_bias, output_kernel, output_bias, kind="erf", gated=False
):
    """`feed_forward` in keras.ops; the arguments and the result are the same."""
    hidden = composed_gelu(composed_dense(inputs, hidden_kernel), hidden_bias, kind, gated)
    return composed_dense(hidden, output_kernel, _cast(output_bias, hidden.dtype))


def feed_forward_is_fused(inputs):
    """Whether `feed_forward` takes the fused op for these inputs `(..., input_dim)`."""
    return served("feed_forward", inputs.dtype) and not has_too_few_rows(inputs)


def _cast(bias, dtype):
    return None if bias is None else ops.cast(bias, dtype)
