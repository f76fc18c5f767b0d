"""The two dense layers of a feed-forward branch as one op, where they are what it computes."""

import keras
from keras import ops

from kerasllm.layers.dense import Dense
from kerasllm.layers.gated_dense import GatedDense
from kerasllm.ops.feed_forward import feed_forward, feed_forward_is_fused
from kerasllm.ops.gelu import kind_of


def run_feed_forward(hidden_layer, output_layer, inputs, training=False):
    """What `output_layer(hidden_layer(inputs))` gives.

    Layers whose call was replaced (an adapter's hook), that are quantised, rematerialised or have
    an activity regularizer, and activations that the op does not know are called one after the
    other.

    Args:
        hidden_layer: A built `Dense` or `GatedDense`.
        output_layer: A built `Dense`.
        inputs: `(..., input_dim)`.
        training: Whether gradients will be asked for.

    Returns:
        `(..., output_dim)`.
    """
    if not (
        feed_forward_is_fused(inputs)
        and _is_plain(hidden_layer, (Dense, GatedDense))
        and _is_plain(output_layer, (Dense,))
        and kind_of(hidden_layer.activation) is not None
        and output_layer.activation is keras.activations.linear
        and hidden_layer.compute_dtype == output_layer.compute_dtype
    ):
        return output_layer(hidden_layer(inputs))
    dtype = hidden_layer.compute_dtype
    return feed_forward(
        ops.cast(inputs, dtype),
        ops.cast(hidden_layer.kernel, dtype),
        _bias(hidden_layer),
        ops.cast(output_layer.kernel, dtype),
        _bias(output_layer),
        kind=kind_of(hidden_layer.activation),
        gated=isinstance(hidden_layer, GatedDense),
        training=training,
    )


def _is_plain(layer, classes):
    """Whether the layer computes what its class says and nothing beside."""
    return (
        type(layer) in classes
        and "call" not in vars(layer)
        and layer.quantization_mode is None
        and layer.activity_regularizer is None
        and layer._remat_mode is None
    )


def _bias(layer):
    # As the layer itself takes it: in the compute dtype.
    return None if layer.bias is None else ops.cast(layer.bias, layer.compute_dtype)
