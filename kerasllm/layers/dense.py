"""keras.layers.Dense with its bias and activation in one pass."""

import keras
from keras import ops

from kerasllm.ops.dispatch import why_not_served
from kerasllm.ops.gelu import gelu, kind_of
from kerasllm.ops.linear import linear


@keras.saving.register_keras_serializable(package="kerasllm")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` whose bias and activation are one op behind the matrix product.

    Constructor, weights and results are those of `keras.layers.Dense`, and weights go both ways.
    The op serves `"gelu"`, `"silu"` and `"relu"`, and `kerasllm.ops.gelu_tanh` for the GELU by
    tanh, in float32 and bfloat16; other activations and dtypes and quantised layers run Keras's own
    code. Without an activation, product and bias become one op of TensorFlow's. With LoRA, the
    kernel is Keras's.

    Under `mixed_bfloat16`, Keras hands over the bias in bfloat16; the op adds it in float32.

    Examples:

    >>> layer = kerasllm.layers.Dense(3072, activation="gelu")

    Args:
        units: Positive integer, the size of the output.
        activation: Name of an activation or a function, or None.
        **kwargs: Every other argument of `keras.layers.Dense`.

    Call arguments:
        inputs: `(..., input_dim)`.

    Returns:
        `(..., units)`.
    """

    def call(self, inputs, training=None):
        if self.bias is not None and self.activation is keras.activations.linear:
            kernel, bias = (ops.convert_to_tensor(each) for each in (self.kernel, self.bias))
            return linear(inputs, kernel, bias)
        if self.why_not_fused():
            return super().call(inputs, training=training)
        products = ops.matmul(inputs, self.kernel)
        return gelu(products, self.bias, kind=kind_of(self.activation))

    def why_not_fused(self):
        """Why Keras's own code runs, as a sentence; None where the op serves."""
        if kind_of(self.activation) is None:
            return "its activation is none of gelu, silu, relu"
        return why_not_served("gelu", self.compute_dtype)

    def quantize(self, mode=None, type_check=True, **kwargs):
        # Keras quantises no subclasses, as they may compute something else; this one does not.
        super().quantize(mode, type_check=type_check and type(self) is not Dense, **kwargs)
