"""The divergence between two predictions."""

from kerasllm.training.regularizers.lazy_tensorflow import tf


def kl_divergence(p, q, from_logits=True):
    """`KL(p || q)` over the last axis, in float32; both arguments have gradients.

    Args:
        p: `(..., classes)`, logits or probabilities.
        q: The same.
        from_logits: Which of the two.

    Returns:
        float32 `(...)`.
    """
    log_p, log_q = (_log_probabilities(tensor, from_logits) for tensor in (p, q))
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)


def check_logits(regularizer, model):
    """Raises a ValueError where a regulariser takes a model's outputs for what they are not."""
    from_logits = getattr(model.loss, "from_logits", regularizer.from_logits)
    name = type(regularizer).__name__
    if from_logits != regularizer.from_logits:
        raise ValueError(
            f"The model's loss has from_logits={from_logits}, but {name} "
            f"from_logits={regularizer.from_logits}."
        )
    if model.built and getattr(model, "output_shape", (None,))[-1] == 1:
        raise ValueError(
            f"{name} compares probabilities of classes, but {model.name} has one output. Give it "
            "two, and a (sparse) categorical cross-entropy."
        )


def _log_probabilities(tensor, from_logits):
    tensor = tf.cast(tensor, "float32")
    if from_logits:
        return tf.nn.log_softmax(tensor)
    return tf.math.log(tf.clip_by_value(tensor, 1e-7, 1.0))
