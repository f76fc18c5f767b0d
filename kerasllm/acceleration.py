"""Fused layers for models that were built without them."""

from dataclasses import dataclass

import keras

from kerasllm import layers, native

# What is replaced by what. Each of ours subclasses the layer of Keras and has no state beyond its.
REPLACEMENTS = {
    getattr(keras.layers, name): getattr(layers, name)
    for name in (
        "Dense",
        "Dropout",
        "Embedding",
        "GroupQueryAttention",
        "LSTM",
        "LayerNormalization",
        "MultiHeadAttention",
        "RMSNormalization",
    )
}
ORIGINALS = {ours: original for original, ours in REPLACEMENTS.items()}


@dataclass(frozen=True)
class LayerReport:
    """What was done with a layer.

    Attributes:
        path: Where it lies in the model: names of layers, outermost first.
        layer: The name of its class before.
        replaced: Whether it is, or was before, replaced.
        reason: Why it was left as it is; empty where it was replaced.
    """

    path: str
    layer: str
    replaced: bool
    reason: str = ""


class AccelerationReport(list):
    """A list of `LayerReport`; as text it is a table."""

    @property
    def num_replaced(self):
        return sum(row.replaced for row in self)

    def __str__(self):
        if not self:
            return "no layers"
        path_width = max(len(row.path) for row in self)
        layer_width = max(len(row.layer) for row in self)
        lines = [
            f"{row.path:{path_width}}  {row.layer:{layer_width}}  "
            + ("replaced" if row.replaced else f"left: {row.reason}")
            for row in self
        ]
        return "\n".join([*lines, f"{self.num_replaced} of {len(self)} layers replaced"])


def accelerate(model, undo=False):
    """Puts the fused layers into a Keras or KerasHub model, in place.

    Layers of Keras become their fused subclasses, wherever they lie in the model. Weights, names,
    the graph and the optimizer's state stay as they are, results agree within the rounding of the
    dtype. Random numbers of dropout are others, and so is the attention of a query that may see no
    key, as those at padding are: zeros, where Keras gives the mean of all values. A saved model
    names the fused classes from then on, so `import kerasllm` must come before it is loaded.

    Examples:

    >>> backbone = keras_hub.models.BertBackbone.from_preset("bert_base_zh")
    >>> print(kerasllm.accelerate(backbone))

    Args:
        model: A Keras model or layer.
        undo: Put Keras's own layers back.

    Returns:
        An `AccelerationReport`: for each layer that does the computing, what was done with it;
        `print` shows it as a table.

    Raises:
        TypeError: If `model` is no Keras layer.
    """
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"Expected a Keras model or layer, but got {type(model).__name__}.")
    report = AccelerationReport()
    _walk(model, model.name, _restore if undo else _replace, report, seen=set())
    _forget_compiled_functions(model)
    return report


def _walk(layer, path, change, report, seen):
    """Changes the layers of a model. What lies within a fused layer is left to that layer."""
    if id(layer) in seen or isinstance(layer, keras.layers.InputLayer):
        return
    seen.add(id(layer))
    children = list(layer._layers)
    if type(layer) in REPLACEMENTS or type(layer) in ORIGINALS or not children:
        report.append(change(path, layer))
        if report[-1].replaced or (type(layer) in REPLACEMENTS and change is _restore):
            return
    for child in children:
        _walk(child, f"{path}/{child.name}", change, report, seen)


def _replace(path, layer):
    original = type(layer)
    name = original.__name__
    if original in ORIGINALS:
        return LayerReport(path, name, replaced=True)
    if original not in REPLACEMENTS:
        return LayerReport(path, name, False, _why_unknown(original))
    if not native.in_use():
        return LayerReport(path, name, False, "the native library is not in use")
    layer.__class__ = REPLACEMENTS[original]
    reason = layer.why_not_fused()
    if reason:
        layer.__class__ = original
        return LayerReport(path, name, False, reason)
    return LayerReport(path, name, replaced=True)


def _restore(path, layer):
    if type(layer) in ORIGINALS:
        layer.__class__ = ORIGINALS[type(layer)]
    return LayerReport(path, type(layer).__name__, False, "Keras's own")


def _why_unknown(layer_class):
    if layer_class.__module__.split(".")[0] == "kerasllm":
        return "a layer of kerasllm"
    for base in layer_class.__mro__[1:]:
        if base in REPLACEMENTS:
            return f"a subclass of {base.__name__}, which may compute something else"
    return "no fused layer of this kind"


def _forget_compiled_functions(model):
    """Compiled functions hold the computation of the layers as they were."""
    for layer in model._flatten_layers():
        for name in ("train_function", "test_function", "predict_function"):
            if getattr(layer, name, None) is not None:
                setattr(layer, name, None)
