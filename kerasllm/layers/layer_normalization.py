"""keras.layers.LayerNormalization on the fused op."""

import keras

from kerasllm.layers.residual_normalization import ResidualNormalization


@keras.saving.register_keras_serializable(package="kerasllm")
class LayerNormalization(ResidualNormalization, keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` in one op, with the residual sum and dropout before it.

    Constructor, weights and results are those of `keras.layers.LayerNormalization`, and weights go
    both ways. The op serves the last axis in float32 and bfloat16; other axes, several axes,
    `rms_scaling` and other dtypes run Keras's own code. As in Keras, weights and statistics are
    float32 under `mixed_bfloat16`.

    A transformer block may hand over its residual connection and its dropout, which then cost
    next to nothing.

    Examples:

    >>> layer = kerasllm.layers.LayerNormalization(epsilon=1e-5)
    >>> outputs = layer(inputs)
    >>> outputs, hidden_states = layer(attention, residual=hidden_states)

    Args:
        axis: As in `keras.layers.LayerNormalization`, like every other argument.
        epsilon: Added to the variance. Defaults to `1e-3`, as in Keras.
        **kwargs: Every other argument of `keras.layers.LayerNormalization`.

    Call arguments:
        inputs: `(..., dim)`.
        residual: Added to `inputs` before the normalisation, in the shape of `inputs`; or None.
        dropout_rate: The share of `inputs` dropped before that, a float in `[0, 1)`. Zero, by
            default, where the caller is not training.
        seed: int32 `(2,)`, as `kerasllm.ops.draw_seed` gives it; needed for dropout.
        return_sum: Whether to return the sum where there is a residual. A block that normalises
            after the sum has no other use of it, and False saves its gradient.

    Returns:
        The normalised, in the shape of `inputs`; with `residual` and `return_sum` a tuple of that
        and `residual + dropout(inputs)`.
    """

    def op_arguments(self):
        if self.rms_scaling:
            return None
        return {"gamma": self.gamma, "beta": self.beta, "epsilon": self.epsilon, "rms": False}
