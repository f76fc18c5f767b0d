"""Changing what a layer computes without changing the layer."""

import functools


def hook_call(layer, wrap):
    """Puts `wrap(call)` in the place of a layer's `call`.

    The layer stays the object that it is, with its weights, in every model that holds it.

    Args:
        layer: A built Keras layer.
        wrap: A function of the layer's `call` that gives another of the same arguments.

    Returns:
        A function that takes the hook out again.

    Raises:
        ValueError: If the layer has a hook already.
    """
    return _hook(layer, "call", wrap)


def hook_method(layer, name, wrap):
    """The same for another method."""
    return _hook(layer, name, wrap)


def _hook(layer, name, wrap):
    if name in layer.__dict__:
        raise ValueError(
            f"The layer {layer.path} is adapted already. Merge or detach what adapts it first."
        )
    method = getattr(layer, name)
    setattr(layer, name, functools.wraps(method)(wrap(method)))
    return lambda: delattr(layer, name)
