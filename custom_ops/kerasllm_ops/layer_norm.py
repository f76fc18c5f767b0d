"""Layer normalisation with the residual sum and the dropout before it, in one op."""

import numpy as np
import tensorflow as tf

from kerasllm_ops.loader import load, required_ops

# What the kernels take for inputs and the residual.
DTYPES = ("float32", "bfloat16")


def layer_norm(
    inputs,
    gamma=None,
    beta=None,
    epsilon=1e-6,
    rms=False,
    residual=None,
    dropout_rate=0.0,
    seed=None,
    return_sum=True,
    name=None,
):
    """`(sum - mean) / sqrt(variance + epsilon) * gamma + beta` over the last axis, with
    `sum = residual + dropout(inputs)`.

    Layer normalisation (Ba, Kiros and Hinton, Layer Normalization, 2016), or root mean square
    normalisation (Zhang and Sennrich, Root Mean Square Layer Normalization, 2019). Means, variances
    and the gradients by `gamma` and `beta` are taken in float32. The sum is normalised as it is
    returned: rounded to its dtype.

    Args:
        inputs: float32, bfloat16 or, on a GPU, float16, `(..., dim)`.
        gamma: float32 `(dim,)`, or None for ones.
        beta: float32 `(dim,)`, or None for zeros.
        epsilon: Added to the variance.
        rms: Take the mean as zero, which gives the root mean square normalisation.
        residual: Shape and dtype of `inputs`, or None.
        dropout_rate: The share of `inputs` dropped, a float in `[0, 1)`, taken to the nearest
            1/65536.
        seed: int32 `(2,)`; equal seeds drop the same elements of equal shapes. Needed for dropout.
        return_sum: Whether to return the sum where there is a residual. Where nobody uses it, False
            saves its gradient.
        name: The op's name.

    Returns:
        The normalised, shape and dtype of `inputs`; with `residual` and `return_sum` a tuple of
        that and the sum.

    Raises:
        RuntimeError: If the native library is not there.
        ValueError: If there is a dropout rate and no seed.
        InvalidArgumentError: If shapes do not fit each other.
    """
    if seed is None:
        if dropout_rate:
            raise ValueError(f"dropout_rate is {dropout_rate} and seed is None: dropout needs one.")
        seed = np.zeros(2, "int32")
    return_sum = return_sum and residual is not None
    outputs, total, _, _ = required_ops("layer_norm").kerasllm_layer_norm(
        inputs=inputs,
        residual=_or_absent(residual, inputs.dtype),
        gamma=_or_absent(gamma),
        beta=_or_absent(beta),
        seed=seed,
        epsilon=epsilon,
        rms=rms,
        dropout_rate=dropout_rate,
        return_sum=return_sum,
        name=name,
    )
    return (outputs, total) if return_sum else outputs


def _or_absent(tensor, dtype=tf.float32):
    """The tensor, or for None the empty one that stands for it."""
    return tf.zeros((0,), dtype) if tensor is None else tensor


def _gradient(op, d_outputs, d_sum, *_):
    """Gradients of KerasllmLayerNorm by its five inputs."""
    inputs, residual, gamma, beta, seed = op.inputs
    _, total, mean, reciprocal_deviation = op.outputs
    alone = residual.shape.rank == 1 and residual.shape[0] == 0
    rate = op.get_attr("dropout_rate")
    keeps_sum = rate > 0 or not alone
    d_inputs, d_residual, d_gamma, d_beta = load().ops.kerasllm_layer_norm_grad(
        sum=total if keeps_sum else inputs,
        gamma=gamma,
        mean=mean,
        reciprocal_deviation=reciprocal_deviation,
        d_outputs=d_outputs,
        d_sum=d_sum if op.get_attr("return_sum") else _or_absent(None, inputs.dtype),
        seed=seed,
        rms=op.get_attr("rms"),
        dropout_rate=rate,
    )
    if alone:
        d_residual = None
    elif rate == 0:
        d_residual = d_inputs
    return [
        d_inputs,
        d_residual,
        None if gamma.shape[0] == 0 else d_gamma,
        None if beta.shape[0] == 0 else d_beta,
        None,
    ]


def _no_second_gradient(op, *_):
    raise NotImplementedError(
        "The fused layer normalisation has no second derivative. For one (a gradient penalty, a "
        "Hessian), switch the fused ops off with KERASLLM_NATIVE=0."
    )


if load().ops is not None:
    tf.RegisterGradient("KerasllmLayerNorm")(_gradient)
    tf.RegisterGradient("KerasllmLayerNormGrad")(_no_second_gradient)
