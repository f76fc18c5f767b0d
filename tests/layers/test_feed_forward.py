"""How transformer blocks take the fused feed-forward op, and when they call their layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasllm
from kerasllm import native

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")


def op_types(function, *arguments):
    return {
        op.type
        for op in tf.function(function).get_concrete_function(*arguments).graph.get_operations()
    }


def block(**options):
    options = {"num_heads": 2, "feed_forward_dim": 24, "dropout": 0.0, "seed": 1, **options}
    layer = kerasllm.layers.TransformerEncoderBlock(**options)
    layer.build((None, None, 16))
    return layer


INPUTS = tf.random.stateless_normal((4, 10, 16), (1, 2))


@needs_native
@pytest.mark.parametrize("activation", ["gelu", "relu", "silu", "geglu", "swiglu"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_block_gives_what_its_layers_give(activation, policy):
    layer = block(activation=activation, dtype=policy)
    for dense in (layer.intermediate_dense, layer.output_dense):
        dense.bias.assign(np.linspace(-1, 1, dense.bias.shape[0]))
    assert "KerasllmFeedForward" in op_types(layer, INPUTS)
    found = layer(INPUTS)
    # A hook that changes nothing is one all the same.
    layer.output_dense.call = layer.output_dense.call
    assert "KerasllmFeedForward" not in op_types(layer, INPUTS)
    tolerance = 2e-6 if policy == "float32" else 0.04
    np.testing.assert_allclose(
        tf.cast(found, "float32"), tf.cast(layer(INPUTS), "float32"), atol=tolerance
    )


CHANGES = {
    "hook": lambda dense: setattr(dense, "call", dense.call),
    "regularizer": lambda dense: setattr(dense, "activity_regularizer", keras.regularizers.L2()),
    "quantized": lambda dense: dense.quantize("int8"),
    "dtype": lambda dense: setattr(dense, "dtype_policy", "mixed_bfloat16"),
}


@needs_native
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["intermediate_dense", "output_dense"])
def test_layers_that_do_more_are_called(name, change):
    layer = block()
    CHANGES[change](getattr(layer, name))
    assert "KerasllmFeedForward" not in op_types(layer, INPUTS)


@needs_native
@pytest.mark.parametrize(
    "name, activation",
    [("intermediate_dense", keras.activations.tanh), ("output_dense", keras.activations.relu)],
)
def test_other_activations_are_called(name, activation):
    layer = block()
    getattr(layer, name).activation = activation
    assert "KerasllmFeedForward" not in op_types(layer, INPUTS)


@needs_native
def test_layers_that_are_rematerialized_are_called(monkeypatch):
    """Keras rematerialises layers as they are called."""
    with keras.RematScope(mode="full"):
        layer = block()
    other = block()
    other.set_weights(layer.get_weights())
    expected = other(INPUTS)
    monkeypatch.setattr("kerasllm.layers.feed_forward.feed_forward", None)  # is not called
    np.testing.assert_allclose(layer(INPUTS), expected, atol=2e-6)


@needs_native
def test_a_decoder_block_takes_the_op():
    layer = kerasllm.layers.TransformerDecoderBlock(2, 24, dropout=0.0)
    assert "KerasllmFeedForward" in op_types(lambda x: layer(x, x), INPUTS)


@needs_native
def test_low_rank_updates_go_through_the_op():
    layer = block()
    layer.output_dense.enable_lora(2)
    layer.output_dense.lora_kernel_b.assign(tf.ones((2, 16)))
    found = layer(INPUTS)
    assert "KerasllmFeedForward" in op_types(layer, INPUTS)
    layer.output_dense.call = layer.output_dense.call
    np.testing.assert_allclose(found, layer(INPUTS), atol=2e-6)


@needs_native
def test_a_step_trains_all_variables_the_same():
    """Gradients of a block in training and outside of it, where `hidden` is made again."""
    layer = block(activation="swiglu")

    def gradients(training):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(layer(INPUTS, training=training)))
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])

    fused = [gradients(True), gradients(False)]
    layer.output_dense.call = layer.output_dense.call
    for mine in fused:
        for one, other in zip(mine, gradients(True), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)
