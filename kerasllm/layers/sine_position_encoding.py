"""Sinusoidal positions."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasllm")
class SinePositionEncoding(keras.layers.Layer):
    """The fixed position encoding of the first transformer: sines in the even features, cosines in
    the odd ones (Vaswani et al., Attention Is All You Need, 2017).

    It has no weights and no largest length. Add it to token embeddings multiplied by the square
    root of their size.

    Examples:

    >>> x = np.random.rand(2, 10, 64)
    >>> kerasllm.layers.SinePositionEncoding()(x).shape
    TensorShape([1, 10, 64])

    Args:
        max_wavelength: The longest wavelength, divided by 2 pi, in positions. 10000 by default.
        **kwargs: Those of every layer.

    Call arguments:
        inputs: `(batch, time, dim)`; only its shape and dtype count.
        start_index: The position of the first step, an integer or an int32 scalar. 0 by default.

    Returns:
        `(1, time, dim)`, the encoding, to be added to the inputs.
    """

    def __init__(self, max_wavelength=10000, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = max_wavelength
        self.supports_masking = True
        self.built = True

    def call(self, inputs, start_index=0):
        dim = inputs.shape[-1]
        feature = ops.arange(dim, dtype="int32")
        exponents = ops.cast(2 * (feature // 2), "float32") / dim
        frequencies = ops.exp(-exponents * ops.log(float(self.max_wavelength)))
        positions = ops.cast(start_index, "float32") + ops.arange(
            ops.shape(inputs)[1], dtype="float32"
        )
        angles = ops.expand_dims(positions, -1) * frequencies
        encoding = ops.where(feature % 2 == 0, ops.sin(angles), ops.cos(angles))
        return ops.cast(ops.expand_dims(encoding, 0), self.compute_dtype)

    def compute_output_shape(self, inputs_shape):
        return (1, *inputs_shape[1:])

    def compute_mask(self, inputs, mask=None):
        return None

    def get_config(self):
        return {**super().get_config(), "max_wavelength": self.max_wavelength}
