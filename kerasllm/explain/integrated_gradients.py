"""Integrated gradients of a class's output with respect to a text's tokens."""

import numpy as np
from keras import ops

from kerasllm.explain.attribution import Attribution
from kerasllm.explain.outputs import (
    check_token_ids,
    class_output,
    likeliest_class,
    replaced_call,
)
from kerasllm.models.embedding import find_embedding


def integrated_gradients(
    model,
    token_ids,
    target=None,
    baseline=None,
    output="logit",
    steps=32,
    tolerance=0.02,
    max_steps=1024,
    batch_size=64,
    layer=None,
):
    """Attributes a class's output to the tokens by integrating gradients from a baseline.

    The gradients with respect to the embedding layer's output are averaged along the straight line
    from the baseline's vectors to the text's, and multiplied by the difference; a token's score is
    the sum over its vector. The scores sum to the difference of the two outputs (completeness), but
    for the error of the sum that stands for the integral: the number of steps (nodes of
    Gauss-Legendre quadrature) is doubled until `tolerance` is met. Masks are those of the text at
    every step. Source: Mukund Sundararajan, Ankur Taly, Qiqi Yan, "Axiomatic Attribution for Deep
    Networks", 2017.

    Examples:

    >>> found = integrated_gradients(classifier.model, classifier.pipeline.encode([text])[0])
    >>> found.scores, found.completeness_gap

    Args:
        model: A Keras model on TensorFlow, from token ids `(batch, time)` to logits
            `(batch, num_classes)`.
        token_ids: ints `(time,)`, those of one text.
        target: The number of the class; the likeliest by default.
        baseline: The id of the token that stands for nothing, such as that of unknown words; zero
            vectors by default.
        output: `"logit"` or `"probability"`: what is explained.
        steps: Steps of the first try.
        tolerance: Largest gap between the sum of the scores and the difference of the outputs, as
            a share of that difference, or of 1 where that is larger.
        max_steps: When to give up.
        batch_size: Steps in one call of the model.
        layer: The embedding layer's name, where the model has several.

    Returns:
        An `Attribution`; its tokens are the ids.

    Raises:
        ValueError: If the tolerance is not met with `max_steps` steps, or as for `Attribution`.
    """
    token_ids = check_token_ids(token_ids)
    embedding = find_embedding(model, layer)
    target = likeliest_class(model, token_ids) if target is None else target
    end = ops.convert_to_numpy(ops.cast(embedding(token_ids), "float32"))  # (1, time, dim)
    start = np.zeros_like(end)
    if baseline is not None:
        ids = np.full_like(token_ids, baseline)
        start = ops.convert_to_numpy(ops.cast(embedding(ids), "float32"))

    def evaluate(vectors, weights=None):
        return _evaluate(model, embedding, token_ids, target, output, vectors, weights, batch_size)

    (from_output, to_output), _ = evaluate(np.concatenate([start, end]))
    difference = to_output - from_output
    while True:
        places, weights = np.polynomial.legendre.leggauss(steps)
        places, weights = (places + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
        path = start + places[:, None, None].astype("float32") * (end - start)
        _, gradient = evaluate(path, weights)
        scores = ((end - start)[0] * gradient).sum(axis=-1)
        gap = abs(scores.sum() - difference)
        if gap <= tolerance * max(1.0, abs(difference)):
            break
        if 2 * steps > max_steps:
            raise ValueError(
                f"With {steps} steps the scores sum to {scores.sum():.4g}, but the outputs differ "
                f"by {difference:.4g}. Allow more steps (max_steps) or a larger tolerance."
            )
        steps *= 2
    return Attribution(
        tokens=[str(token_id) for token_id in token_ids[0]],
        scores=scores,
        label=str(target),
        output=float(to_output),
        baseline_output=float(from_output),
    )


def _evaluate(model, embedding, token_ids, target, output, vectors, weights, batch_size):
    """The output for each row of vectors `(rows, time, dim)`, and the weighted sum of gradients."""
    import tensorflow as tf

    outputs, total = [], np.zeros(vectors.shape[1:])
    for begin in range(0, len(vectors), batch_size):
        batch = tf.constant(vectors[begin : begin + batch_size])
        ids = tf.repeat(token_ids, len(batch), axis=0)
        with tf.GradientTape() as tape:
            tape.watch(batch)
            given = ops.cast(batch, embedding.compute_dtype)
            with replaced_call(embedding, lambda original, inputs, given=given: given):
                value = class_output(model, ids, target, output)
        outputs.append(value.numpy())
        if weights is not None:
            gradient = tape.gradient(value, batch)
            total += np.einsum("s,std->td", weights[begin : begin + batch_size], gradient.numpy())
    return np.concatenate(outputs).astype("float64"), total
