"""Reaching the output of a model's embedding layer without changing the model."""

import contextlib

import keras
from keras import ops


def find_embedding(model, embedding=None):
    """The layer that turns token ids into vectors.

    Args:
        model: A Keras model.
        embedding: The layer, or its name or path; by default the only `keras.layers.Embedding`.

    Raises:
        ValueError: If there is no such layer, or more than one.
    """
    layers = model._flatten_layers(include_self=False)
    if embedding is None:
        found = [layer for layer in layers if isinstance(layer, keras.layers.Embedding)]
    else:
        found = [
            layer for layer in layers if layer is embedding or embedding in (layer.name, layer.path)
        ]
    if len(found) == 1:
        return found[0]
    wanted = "keras.layers.Embedding" if embedding is None else f"layer {embedding!r}"
    paths = ", ".join(layer.path for layer in found) or "none"
    raise ValueError(
        f"{model.name} should have one {wanted}, but has {len(found)}: {paths}. Name the layer "
        "that token ids go into with embedding=."
    )


@contextlib.contextmanager
def embedding_hook(layer, replace_ids, change_embeddings):
    """While it is open, the layer looks up other ids and gives other embeddings.

    The output is changed and not the table: a text's words get vectors of their own even where
    another text has the same word, nothing is written that would have to be restored, and the work
    is that of the batch and not of the vocabulary.

    Args:
        layer: The embedding layer.
        replace_ids: A function of `(token_ids, mask)` to token ids.
        change_embeddings: A function of `(embeddings, mask)` to embeddings.

    Yields:
        A list with `(embeddings, mask)` of each call of the layer, as they are after the change.
    """
    call = layer.call
    found = []

    def hooked_call(inputs, *args, **kwargs):
        mask = layer.compute_mask(inputs, None)
        if mask is None:
            mask = ops.ones(ops.shape(inputs)[:2], "bool")
        embeddings = call(replace_ids(inputs, mask), *args, **kwargs)
        embeddings = change_embeddings(embeddings, mask)
        found.append((embeddings, mask))
        return embeddings

    layer.call = hooked_call
    try:
        yield found
    finally:
        del layer.call
