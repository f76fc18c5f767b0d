"""A language model's last layer and its loss, without the logits, on any backend."""

from keras import ops

from kerasllm.ops.dispatch import served


def linear_cross_entropy(
    hidden_states,
    kernel,
    labels,
    bias=None,
    ignore_index=-100,
    label_smoothing=0.0,
    z_loss=0.0,
    training=False,
):
    """Softmax cross-entropy of `hidden_states @ transpose(kernel) + bias` against `labels`.

    On TensorFlow, in float32 and bfloat16, one fused op that never stores the logits,
    `kerasllm_ops.linear_cross_entropy`, whose docstring has the equations; elsewhere the same maths
    in keras.ops, with logits of `(..., vocabulary)`.

    Examples:

    >>> losses, correct = kerasllm.ops.linear_cross_entropy(hidden_states, kernel, labels)
    >>> counts = keras.ops.cast(labels != -100, "float32")
    >>> loss = keras.ops.sum(losses) / keras.ops.sum(counts)

    Args:
        hidden_states: `(..., dim)`.
        kernel: `(vocabulary, dim)`, such as an embedding matrix, in the dtype of `hidden_states`.
        labels: Integers `(...)`, each in `[0, vocabulary)` or `ignore_index`.
        bias: `(vocabulary,)`, or None.
        ignore_index: Positions with this label have loss 0 and no gradient; in the fused op they
            cost nothing.
        label_smoothing: The share of the target that is spread evenly over all classes, in
            `[0, 1]`.
        z_loss: Weight of the squared log-sum-exp of the logits in the loss, at least 0.
        training: Whether a gradient will be asked for; without it a gradient costs a second pass.

    Returns:
        `(losses, correct)`: float32 and bool, both in the shape of `labels`. `correct` says whether
        the label has the largest logit, and no smaller id has the same; it is false where ignored.
        float64 tensors have float64 losses.
    """
    if not served("linear_cross_entropy", hidden_states.dtype):
        return composed_linear_cross_entropy(
            hidden_states, kernel, labels, bias, ignore_index, label_smoothing, z_loss
        )
    from kerasllm_ops.linear_cross_entropy import linear_cross_entropy as fused

    shape = ops.shape(labels)
    losses, correct, _ = fused(
        ops.reshape(hidden_states, (-1, kernel.shape[-1])),
        kernel,
        ops.reshape(labels, (-1,)),
        bias=None if bias is None else ops.cast(bias, "float32"),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        save_gradients=bool(training),
    )
    return ops.reshape(losses, shape), ops.reshape(correct, shape)


def composed_linear_cross_entropy(
    hidden_states,
    kernel,
    labels,
    bias=None,
    ignore_index=-100,
    label_smoothing=0.0,
    z_loss=0.0,
):
    """`linear_cross_entropy` in keras.ops; the arguments and the results are the same.

    Labels out of range are not found: they have no logit, and only the smoothed part of the loss.
    """
    dtype = "float64" if hidden_states.dtype == "float64" else "float32"
    logits = ops.cast(ops.matmul(hidden_states, ops.transpose(kernel)), dtype)
    if bias is not None:
        logits = logits + ops.cast(bias, dtype)
    counts = labels != ignore_index
    ids = ops.where(counts, labels, ops.zeros_like(labels))
    log_sum_exp = ops.logsumexp(logits, axis=-1)
    target = ops.one_hot(ids, kernel.shape[0], dtype=dtype)
    label_logits = ops.sum(ops.where(target > 0, logits, ops.zeros_like(logits)), axis=-1)
    losses = log_sum_exp - label_logits
    if label_smoothing:
        uniform = log_sum_exp - ops.mean(logits, axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing * uniform
    if z_loss:
        losses = losses + z_loss * ops.square(log_sum_exp)
    correct = ops.cast(ops.argmax(logits, axis=-1), ids.dtype) == ids
    return (
        ops.where(counts, losses, ops.zeros_like(losses)),
        ops.logical_and(correct, counts),
    )
