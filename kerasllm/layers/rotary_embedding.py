"""Rotary positions."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasllm")
class RotaryEmbedding(keras.layers.Layer):
    """Rotates pairs of features of queries and keys by angles that grow with the position, so that
    their product depends on the distance alone.

    Feature `i` of the first half is paired with feature `i` of the second half, as Llama and Qwen
    have it (Su, Lu, Pan, Murtadha, Wen and Liu, RoFormer: Enhanced Transformer with Rotary Position
    Embedding, 2021).

    Examples:

    >>> queries = np.random.rand(2, 10, 8, 64)
    >>> kerasllm.layers.RotaryEmbedding()(queries).shape
    TensorShape([2, 10, 8, 64])

    Args:
        max_wavelength: Positions after which the slowest pair has turned once, divided by 2 pi;
            the "base" or "theta" of other libraries. 10000 by default.
        **kwargs: Those of every layer.

    Call arguments:
        inputs: `(batch, time, num_heads, head_dim)`, head_dim even.
        start_index: The position of the first step, an integer or an int32 scalar or `(batch,)`
            tensor. 0 by default.

    Returns:
        The rotated inputs, in their shape and dtype. Angles are computed in float32.

    Raises:
        ValueError: If head_dim is odd.
    """

    def __init__(self, max_wavelength=10000, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = max_wavelength
        self.supports_masking = True

    def build(self, inputs_shape):
        if inputs_shape[-1] % 2:
            raise ValueError(f"head_dim is {inputs_shape[-1]}; rotary positions need an even one.")

    def call(self, inputs, start_index=0):
        half = inputs.shape[-1] // 2
        exponents = ops.arange(half, dtype="float32") / half
        frequencies = ops.exp(-exponents * ops.log(float(self.max_wavelength)))
        start = ops.reshape(ops.cast(start_index, "float32"), (-1, 1))
        positions = start + ops.arange(ops.shape(inputs)[1], dtype="float32")
        # (batch or 1, time, 1, half)
        angles = ops.expand_dims(ops.expand_dims(positions, -1) * frequencies, 2)
        cosine, sine = ops.cos(angles), ops.sin(angles)
        first, second = ops.split(ops.cast(inputs, "float32"), 2, axis=-1)
        rotated = [first * cosine - second * sine, second * cosine + first * sine]
        return ops.cast(ops.concatenate(rotated, axis=-1), inputs.dtype)

    def compute_output_shape(self, inputs_shape):
        return inputs_shape

    def get_config(self):
        return {**super().get_config(), "max_wavelength": self.max_wavelength}
