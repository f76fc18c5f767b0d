"""Finding a model's embedding layer."""

import keras

from kerasllm.layers import TokenAndPositionEmbedding

KINDS = (keras.layers.Embedding, TokenAndPositionEmbedding)


def find_embedding(model, embedding=None):
    """The layer of a model, at any depth, that turns token ids into vectors.

    Args:
        model: A Keras model.
        embedding: The layer, or its name or path; by default the only `keras.layers.Embedding` or
            `TokenAndPositionEmbedding`.

    Raises:
        ValueError: If there is no such layer, or more than one.
    """
    layers = model._flatten_layers(include_self=False)
    if embedding is None:
        found = [layer for layer in layers if isinstance(layer, KINDS)]
    else:
        found = [
            layer for layer in layers if layer is embedding or embedding in (layer.name, layer.path)
        ]
    if len(found) == 1:
        return found[0]
    wanted = "embedding layer" if embedding is None else f"layer {embedding!r}"
    paths = ", ".join(layer.path for layer in found) or "none"
    raise ValueError(
        f"{model.name} should have one {wanted}, but has {len(found)}: {paths}. Name the layer "
        "that token ids go into."
    )
