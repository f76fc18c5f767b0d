"""A bias and an activation in one pass, on any backend."""

import math

import keras
from keras import backend, ops

from kerasllm.ops.dispatch import served


def gelu(inputs, bias=None, kind="erf", gated=False):
    """`act(inputs + bias)`; gated, `act(gate + its bias) * (value + its bias)`.

    On TensorFlow, in float32 and bfloat16, one fused op, `kerasllm_ops.gelu`; elsewhere the same in
    keras.ops. GELU and SiLU: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016; gated, as in
    GEGLU and SwiGLU: Shazeer, GLU Variants Improve Transformer, 2020.

    The bias is added in float32, also to bfloat16 inputs.

    Args:
        inputs: `(..., dim)`; gated, `(..., 2 * dim)`, the gate and beside it the value.
        bias: As long as a row of `inputs`, in any float dtype; or None.
        kind: `"erf"` or `"tanh"` for the GELU, exact or approximated, `"silu"` or `"relu"`.
        gated: Whether a row of `inputs` is a gate and a value.

    Returns:
        `(..., dim)` in the dtype of `inputs`.
    """
    if not served("gelu", inputs.dtype):
        return composed_gelu(inputs, bias, kind, gated)
    from kerasllm_ops.gelu import gelu as fused

    bias = None if bias is None else ops.cast(bias, "float32")
    return fused(inputs, bias, kind=kind, gated=gated)


def composed_gelu(inputs, bias=None, kind="erf", gated=False):
    """`gelu` in keras.ops; the arguments and the result are the same.

    It computes in float32, and in float64 for float64 inputs.
    """
    dtype = backend.result_type(inputs.dtype, "float32")
    values = ops.cast(inputs, dtype)
    if bias is not None:
        values = values + ops.cast(bias, dtype)
    if gated:
        gate, value = ops.split(values, 2, axis=-1)
        outputs = _composed_activation(gate, kind) * value
    else:
        outputs = _composed_activation(values, kind)
    return ops.cast(outputs, inputs.dtype)


def _composed_activation(x, kind):
    # Not keras.activations.gelu: on TensorFlow its constants are float32, whatever x is.
    if kind == "erf":
        return 0.5 * x * (1 + ops.erf(x * math.sqrt(0.5)))
    if kind == "tanh":
        return 0.5 * x * (1 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return {"silu": ops.silu, "relu": ops.relu}[kind](x)


@keras.saving.register_keras_serializable(package="kerasllm")
def gelu_tanh(x):
    """The GELU approximated by tanh, as an activation that configs can name.

    Args:
        x: A float tensor of any shape.

    Returns:
        A tensor of its shape and dtype.
    """
    return keras.activations.gelu(x, approximate=True)


_ACTIVATIONS = {
    "erf": keras.activations.gelu,
    "tanh": gelu_tanh,
    "silu": keras.activations.silu,
    "relu": keras.activations.relu,
}


def kind_of(activation):
    """The `kind` that is this activation function, or None."""
    for kind, function in _ACTIVATIONS.items():
        if activation is function:
            return kind
    return None
