"""Layers whose kernel is a matrix: what low-rank methods need to know of them."""

import math

import keras
from keras import ops

from kerasllm.layers import Dense, GatedDense
from kerasllm.ops.gelu import gelu, kind_of

KINDS = (keras.layers.Dense, keras.layers.EinsumDense, GatedDense)


def find_targets(model, targets):
    """The layers of a model that low-rank methods are put onto.

    Args:
        model: A Keras model.
        targets: Ends of paths of layers, such as `"query"` or `"attention/output"`.

    Returns:
        A list of layers, lowest first.

    Raises:
        ValueError: If a target fits no layer, or one whose kernel is no matrix.
    """
    places = {id(weight): place for place, weight in enumerate(model.weights)}
    layers = [layer for layer in model._flatten_layers(include_self=False) if layer.weights]
    layers.sort(key=lambda layer: min(places[id(weight)] for weight in layer.weights))
    found = []
    for target in targets:
        fitting = [layer for layer in layers if f"/{layer.path}".endswith(f"/{target}")]
        if not fitting:
            raise ValueError(f"{model.name} has no layer whose path ends with {target!r}.")
        for layer in fitting:
            matrix_shape(layer)  # or an error
        found += fitting
    return [layer for layer in layers if any(layer is other for other in found)]


def kernel_of(layer):
    """The kernel's variable."""
    return layer.kernel if isinstance(layer, GatedDense) else layer._kernel


def matrix_shape(layer):
    """`(inputs, outputs)` of a layer's kernel as a matrix.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(layer, KINDS):
        raise ValueError(
            f"{layer.path} is a {type(layer).__name__}; low-rank updates are for "
            f"{', '.join(kind.__name__ for kind in KINDS)}."
        )
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        raise ValueError(f"{layer.path} is quantized, or has Keras's own LoRA.")
    shape = kernel_of(layer).shape
    axes = _contracted_axes(layer)
    return math.prod(shape[:axes]), math.prod(shape[axes:])


def _contracted_axes(layer):
    """How many axes of the inputs, the last ones, meet the kernel, with its first ones."""
    if not isinstance(layer, keras.layers.EinsumDense):
        return 1
    inputs, kernel, outputs = layer.equation.replace("->", ",").split(",")
    contracted = "".join(axis for axis in kernel if axis in inputs)
    batch, rest = inputs.removesuffix(contracted), kernel.removeprefix(contracted)
    if (inputs, kernel, outputs) != (batch + contracted, contracted + rest, batch + rest):
        raise ValueError(f"{layer.path} computes {layer.equation}, which is no matrix product.")
    return len(contracted)


def _is_linear(layer):
    return layer.bias is not None and layer.activation is keras.activations.linear


def call_with_product(layer, product):
    """A `call` for the layer that leaves the product with the kernel to a function.

    Args:
        layer: A layer of one of the `KINDS`.
        product: A function of `(..., inputs)`, and of a bias if one is to be added at once, to
            `(..., outputs)`; the sizes are those of `matrix_shape`.
    """
    axes = _contracted_axes(layer)
    shape = kernel_of(layer).shape

    def multiply(inputs):
        if axes == 1 and len(shape) == 2:
            return product(inputs)
        leading = ops.shape(inputs)[: len(inputs.shape) - axes]
        products = product(ops.reshape(inputs, (*leading, math.prod(shape[:axes]))))
        return ops.reshape(products, (*leading, *shape[axes:]))

    def call(inputs, training=None):
        if isinstance(layer, Dense) and _is_linear(layer):
            return product(inputs, layer.bias)
        products = multiply(inputs)
        if isinstance(layer, GatedDense):
            return gelu(products, layer.bias, kind=kind_of(layer.activation), gated=True)
        if isinstance(layer, Dense) and layer.why_not_fused() is None:
            return gelu(products, layer.bias, kind=kind_of(layer.activation))
        if layer.bias is not None:
            products = products + layer.bias
        return products if layer.activation is None else layer.activation(products)

    return call
