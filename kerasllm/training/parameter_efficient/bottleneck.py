"""Bottleneck adapters."""

import dataclasses

import keras

from kerasllm.layers import Dense
from kerasllm.layers.cached_multi_head_attention import CachedMultiHeadAttention
from kerasllm.training.fine_tune.stages import find_stages
from kerasllm.training.parameter_efficient.hooks import hook_call
from kerasllm.training.parameter_efficient.method import Method, register


@register
@dataclasses.dataclass(frozen=True)
class BottleneckAdapters(Method):
    """Small feed-forward layers with residuals, behind each branch of each block.

    They stand where the branch's result has its size again, before it is added to the state. The
    normalisations of the blocks train too. Their last layer begins as zeros, so that training
    begins at the pretrained model. They stay in the model: there is nothing to merge them into.

    Source: Houlsby, Giurgiu, Jastrzebski, Morrone, de Laroussilhe, Gesmundo, Attariyan and Gelly,
    Parameter-Efficient Transfer Learning for NLP, 2019.

    Args:
        bottleneck_dim: Size of the hidden layer. 64 by default.
        activation: Of the hidden layer. `"gelu"` by default.
        train_normalizations: Whether gains and shifts of the blocks' normalisations train. True by
            default.
    """

    bottleneck_dim: int = 64
    activation: str = "gelu"
    train_normalizations: bool = True

    name = "adapter"
    learning_rate = 1e-3

    def attach(self, model, attachment):
        for block in find_stages(model).transformer_blocks:
            inner = list(block._flatten_layers(include_self=False))
            branches = [
                layer.output_dense for layer in inner if isinstance(layer, CachedMultiHeadAttention)
            ]
            for dense in [*branches, block.output_dense]:
                self._attach_behind(dense, attachment)
            if self.train_normalizations:
                attachment.trained |= {
                    id(variable)
                    for layer in inner
                    if "norm" in layer.name
                    for variable in layer.trainable_variables
                }

    def _attach_behind(self, dense, attachment):
        adapter = BottleneckAdapter(
            self.bottleneck_dim,
            self.activation,
            dtype=dense.dtype_policy,
            name=dense.path.replace("/", "."),
        )
        adapter.build((None, None, dense.units))
        attachment.layers.append(adapter)

        def wrap(call):
            return lambda inputs, training=None: adapter(call(inputs, training=training))

        attachment.unhooks.append(hook_call(dense, wrap))


class BottleneckAdapter(keras.layers.Layer):
    """`x + up(activation(down(x)))`."""

    def __init__(self, bottleneck_dim, activation, **kwargs):
        super().__init__(**kwargs)
        self.bottleneck_dim, self.activation = bottleneck_dim, activation
        self.supports_masking = True

    def build(self, input_shape):
        options = {"dtype": self.dtype_policy}
        self.down = Dense(self.bottleneck_dim, activation=self.activation, name="down", **options)
        self.up = Dense(input_shape[-1], kernel_initializer="zeros", name="up", **options)
        self.down.build(input_shape)
        self.up.build((*input_shape[:-1], self.bottleneck_dim))

    def call(self, inputs):
        return inputs + self.up(self.down(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape
