"""Layer normalisation with the residual sum and the dropout before it, on any backend."""

from keras import backend, ops

from kerasllm.ops.dispatch import served
from kerasllm.ops.dropout import composed_dropout


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
):
    """`(sum - mean) / sqrt(variance + epsilon) * gamma + beta` over the last axis, with
    `sum = residual + dropout(inputs)`: what a transformer block does between its parts.

    On TensorFlow, in float32 and bfloat16, one fused op, `kerasllm_ops.layer_norm`; elsewhere the
    same in keras.ops. Ba, Kiros and Hinton, Layer Normalization, 2016; Zhang and Sennrich, Root
    Mean Square Layer Normalization, 2019.

    Examples:

    >>> outputs, hidden_states = layer_norm(attention, gamma, beta, residual=hidden_states)

    Args:
        inputs: `(..., dim)`.
        gamma: `(dim,)`, or None for ones; float32 keeps its precision whatever the inputs' dtype.
        beta: `(dim,)`, or None for zeros; likewise.
        epsilon: Added to the variance.
        rms: Take the mean as zero, which gives the root mean square normalisation.
        residual: Shape and dtype of `inputs`, or None.
        dropout_rate: The share of `inputs` dropped, a float in `[0, 1)`, taken to the nearest
            1/65536.
        seed: int32 `(2,)`, as `kerasllm.ops.draw_seed` gives it; needed for dropout.
        return_sum: Whether to return the sum where there is a residual. Where nobody uses it, False
            saves its gradient.

    Returns:
        The normalised, shape and dtype of `inputs`; with `residual` and `return_sum` a tuple of
        that and the sum.

    Raises:
        ValueError: If there is a dropout rate and no seed.
    """
    if dropout_rate and seed is None:
        raise ValueError(f"dropout_rate is {dropout_rate} and seed is None: dropout needs one.")
    if not served("layer_norm", inputs.dtype):
        return composed_layer_norm(
            inputs, gamma, beta, epsilon, rms, residual, dropout_rate, seed, return_sum
        )
    from kerasllm_ops.layer_norm import layer_norm as fused

    return fused(
        inputs,
        None if gamma is None else ops.cast(gamma, "float32"),
        None if beta is None else ops.cast(beta, "float32"),
        epsilon=epsilon,
        rms=rms,
        residual=residual,
        dropout_rate=dropout_rate,
        seed=seed,
        return_sum=return_sum,
    )


def composed_layer_norm(
    inputs,
    gamma=None,
    beta=None,
    epsilon=1e-6,
    rms=False,
    residual=None,
    dropout_rate=0.0,
    seed=None,
    return_sum=True,
):
    """`layer_norm` in keras.ops; the arguments and results are the same.

    It computes in float32, and in float64 for float64 inputs.
    """
    dtype = backend.result_type(inputs.dtype, "float32")
    total = inputs
    if dropout_rate:
        total = composed_dropout(total, dropout_rate, seed)
    if residual is not None:
        total = total + residual
    values = ops.cast(total, dtype)
    if not rms:
        values = values - ops.mean(values, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(values), axis=-1, keepdims=True)
    outputs = values * ops.rsqrt(variance + epsilon)
    if gamma is not None:
        outputs = outputs * ops.cast(gamma, dtype)
    if beta is not None:
        outputs = outputs + ops.cast(beta, dtype)
    outputs = ops.cast(outputs, inputs.dtype)
    return (outputs, total) if return_sum and residual is not None else outputs
