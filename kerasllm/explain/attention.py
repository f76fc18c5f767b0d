"""Where attention flows to, over all layers: attention rollout."""

import contextlib
import inspect

import numpy as np
from keras import ops

from kerasllm.explain.attribution import Attribution
from kerasllm.explain.outputs import check_token_ids, replaced_call


def attention_rollout(attentions, residual=0.5):
    """How much each position's last hidden state draws on each token.

    The heads of a layer are averaged, the residual connection is added as an identity matrix, and
    the layers' matrices are multiplied. Source: Samira Abnar, Willem Zuidema, "Quantifying
    Attention Flow in Transformers", 2020.

    Args:
        attentions: The attention weights of each layer, from the first to the last: arrays
            `(heads, time, time)`, `[head, query, key]`, rows summing to 1.
        residual: The share of the residual connection, 0.5 in the paper.

    Returns:
        float64 `(time, time)`; row i says what position i draws on, and sums to 1.

    Raises:
        ValueError: If there are no layers, or their shapes do not fit.
    """
    shapes = {np.shape(attention)[1:] for attention in attentions}
    if len(shapes) != 1 or len(set(*shapes)) != 1 or len(*shapes) != 2:
        got = [np.shape(attention) for attention in attentions]
        raise ValueError(f"attentions have the shapes {got}; expected (heads, time, time) each.")
    ((time, _),) = shapes
    rolled = np.eye(time)
    for attention in attentions:
        mixed = residual * np.eye(time) + (1 - residual) * np.mean(attention, axis=0, dtype=float)
        rolled = (mixed / mixed.sum(axis=-1, keepdims=True).clip(min=1e-30)) @ rolled
    return rolled


def attention_attribution(model, token_ids, attentions=None, position=0, residual=0.5):
    """A text's tokens by the attention that one position, or all, pay to them.

    Attention says where a model looks and not what for: the scores have no sign, sum to 1, and are
    of no class.

    Args:
        model: A model with attention layers.
        token_ids: ints `(time,)`, those of one text.
        attentions: A function of `(model, token_ids)`, the ids as `(1, time)`, that gives a list
            of `(heads, time, time)`; `collect_attentions` by default.
        position: The position whose state is used, such as 0 for one that begins with a
            classification token; None for the mean over all.
        residual: As in `attention_rollout`.

    Returns:
        An `Attribution`; its tokens are the ids.

    Raises:
        ValueError: If the model has no attention layers that give their weights.
    """
    token_ids = check_token_ids(token_ids)
    rolled = attention_rollout((attentions or collect_attentions)(model, token_ids), residual)
    return Attribution(
        tokens=[str(token_id) for token_id in token_ids[0]],
        scores=rolled.mean(axis=0) if position is None else rolled[position],
    )


def collect_attentions(model, token_ids):
    """The attention weights of every layer that gives them, in the order in which they are called.

    These are layers whose `call` knows `return_attention_scores`, as that of
    `keras.layers.MultiHeadAttention` does, and returns `(outputs, scores)` with it; and those with
    a method `attention_weights` of the arguments of their `call`, as the attention of our
    transformer blocks, whose fused op has no weights: there they are computed beside the call.

    Args:
        model: A Keras model.
        token_ids: ints `(1, time)`.

    Returns:
        A list of float arrays `(heads, time, time)`.

    Raises:
        ValueError: If there is no such layer.
    """
    found = []

    def record(original, *args, **kwargs):
        asked = kwargs.pop("return_attention_scores", False)
        outputs, scores = original(*args, return_attention_scores=True, **kwargs)
        found.append(ops.convert_to_numpy(ops.cast(scores, "float32"))[0])
        return (outputs, scores) if asked else outputs

    def record_beside(layer):
        known = inspect.signature(layer.attention_weights).parameters

        def call(original, *args, **kwargs):
            shared = {name: value for name, value in kwargs.items() if name in known}
            weights = layer.attention_weights(*args, **shared)
            found.append(ops.convert_to_numpy(ops.cast(weights, "float32"))[0])
            return original(*args, **kwargs)

        return call

    with contextlib.ExitStack() as stack:
        for layer in model._flatten_layers():
            if "return_attention_scores" in inspect.signature(layer.call).parameters:
                stack.enter_context(replaced_call(layer, record))
            elif hasattr(layer, "attention_weights"):
                stack.enter_context(replaced_call(layer, record_beside(layer)))
        model(token_ids, training=False)
    if not found:
        raise ValueError(
            f"{model.name} has no attention layer that gives its weights; give a function that "
            "does as attentions."
        )
    return found
