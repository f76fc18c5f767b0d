"""How well a masked language model guesses."""

import numpy as np


def evaluate_masked_language_model(model, rows, count, batch_size=32):
    """Loss and accuracy of masked tokens.

    The rows' masks follow from their numbers, so two models are asked for the same tokens.

    Args:
        model: A `kerasllm.models.BertMaskedLM`.
        rows: A `kerasllm.data.MaskedLanguageModelRows` of the validation texts.
        count: How many rows, rounded up to whole batches.
        batch_size: Rows for each call. 32 by default.

    Returns:
        A dict of `nats_per_masked_token`, `masked_accuracy` and `masked_tokens`.
    """
    import tensorflow as tf

    # Past Keras, which would take it for a part of the model.
    if "_compiled_predictions" not in model.__dict__:
        model.__dict__["_compiled_predictions"] = tf.function(
            lambda inputs: model(inputs, training=False), reduce_retracing=True
        )
    predict = model.__dict__["_compiled_predictions"]
    nats, correct, total = 0.0, 0, 0
    for first in range(0, count, batch_size):
        inputs = rows(first, batch_size)
        losses, right = predict({name: tf.constant(array) for name, array in inputs.items()})
        nats += float(np.sum(losses.numpy(), dtype=np.float64))
        correct += int(np.sum(right.numpy()))
        total += int(np.sum(inputs["labels"] >= 0))
    return {
        "nats_per_masked_token": nats / max(1, total),
        "masked_accuracy": correct / max(1, total),
        "masked_tokens": total,
    }
