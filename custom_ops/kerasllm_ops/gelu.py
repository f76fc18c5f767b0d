"""A bias and an activation in one pass: GELU, SiLU and their gated forms."""

import tensorflow as tf

from kerasllm_ops.loader import load, required_ops

# What the kernels take for inputs; and the activations.
DTYPES = ("float32", "bfloat16")
KINDS = ("erf", "tanh", "silu", "relu")


def gelu(inputs, bias=None, kind="erf", gated=False, name=None):
    """`act(inputs + bias)`; gated, `act(gate + its bias) * (value + its bias)`.

    GELU and SiLU are those of Hendrycks and Gimpel, Gaussian Error Linear Units, 2016; the gated
    forms those of Shazeer, GLU Variants Improve Transformer, 2020. The gradient computes the
    activation again and keeps nothing but the inputs.

    Args:
        inputs: float32, bfloat16 or, on a GPU, float16, `(..., dim)`; gated, `(..., 2 * dim)`,
            the gate and beside it the value.
        bias: float32, as long as a row of `inputs`; or None.
        kind: `"erf"` or `"tanh"` for the GELU, exact or approximated, `"silu"` or `"relu"`.
        gated: Whether a row of `inputs` is a gate and a value.
        name: The op's name.

    Returns:
        `(..., dim)` in the dtype of `inputs`.

    Raises:
        RuntimeError: If the native library is not there.
        ValueError: If `kind` is another.
        InvalidArgumentError: If shapes do not fit each other.
    """
    return required_ops("gelu").kerasllm_gelu(
        inputs=inputs,
        bias=tf.zeros((0,)) if bias is None else bias,
        kind=kind,
        gated=gated,
        name=name,
    )


def _gradient(op, d_outputs):
    inputs, bias = op.inputs
    d_inputs, d_bias = load().ops.kerasllm_gelu_grad(
        inputs=inputs,
        bias=bias,
        d_outputs=d_outputs,
        kind=op.get_attr("kind"),
        gated=op.get_attr("gated"),
    )
    return [d_inputs, None if bias.shape[0] == 0 else d_bias]


def _no_second_gradient(op, *_):
    raise NotImplementedError(
        "The fused activation has no second derivative. For one (a gradient penalty, a Hessian), "
        "switch the fused ops off with KERASLLM_NATIVE=0."
    )


if load().ops is not None:
    tf.RegisterGradient("KerasllmGelu")(_gradient)
    tf.RegisterGradient("KerasllmGeluGrad")(_no_second_gradient)
