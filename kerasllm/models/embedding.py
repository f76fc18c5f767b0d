"""Finding a model's embedding layer."""

import keras


def find_embedding(model, name=None):
    """The embedding layer of a model, at any depth.

    Args:
        model: A Keras model.
        name: The layer's name; None where there is but one.

    Raises:
        ValueError: If there is none, or several and no name.
    """
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Embedding) and name in (None, layer.name)
    ]
    if len(layers) == 1:
        return layers[0]
    if layers:
        names = ", ".join(layer.name for layer in layers)
        raise ValueError(f"{model.name} has several embedding layers: {names}. Name one.")
    called = "" if name is None else f" called {name!r}"
    raise ValueError(f"{model.name} has no embedding layer{called}.")
