"""A gated dense layer: GEGLU, SwiGLU and their like."""

import keras
from keras import ops

from kerasllm.ops.few_rows_product import few_rows_product, few_rows_served
from kerasllm.ops.gelu import gelu, kind_of


@keras.saving.register_keras_serializable(package="kerasllm")
class GatedDense(keras.layers.Layer):
    """`activation(x @ W + b) * (x @ V + c)`, the first half of a gated feed-forward network.

    Both products are one, with a kernel that has `W` and `V` side by side, and what follows it is
    one op: Shazeer, GLU Variants Improve Transformer, 2020, calls it SwiGLU with `"silu"`, GEGLU
    with `"gelu"` and ReGLU with `"relu"`.

    Examples:

    >>> kerasllm.layers.GatedDense(2048)(np.ones((2, 5, 768), "float32")).shape
    TensorShape([2, 5, 2048])

    Args:
        units: Positive integer, the size of the output.
        activation: That of the gate: `"silu"`, `"gelu"`, `"relu"` or `kerasllm.ops.gelu_tanh`.
        use_bias: Whether to add biases.
        kernel_initializer: For the kernel `(input_dim, 2 * units)`.
        bias_initializer: For the bias `(2 * units,)`.
        kernel_regularizer: For the kernel.
        bias_regularizer: For the bias.
        **kwargs: Those of every layer.

    Call arguments:
        inputs: `(..., input_dim)`.

    Returns:
        `(..., units)`.

    Raises:
        ValueError: If `units` is not a positive integer or the activation is another.
    """

    def __init__(
        self,
        units,
        activation="silu",
        use_bias=False,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(units, int) or units <= 0:
            raise ValueError(f"units is {units!r}, expected a positive integer.")
        self.units = units
        self.activation = keras.activations.get(activation)
        if kind_of(self.activation) is None:
            raise ValueError(
                f"activation is {activation!r}, expected 'silu', 'gelu', 'relu' or "
                "kerasllm.ops.gelu_tanh."
            )
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.supports_masking = True

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], 2 * self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(2 * self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
            )

    def call(self, inputs):
        multiply = few_rows_product if few_rows_served(inputs) else ops.matmul
        products = multiply(inputs, self.kernel)
        return gelu(products, self.bias, kind=kind_of(self.activation), gated=True)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
        }
