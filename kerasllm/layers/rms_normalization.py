"""keras.layers.RMSNormalization on the fused op."""

import keras

from kerasllm.layers.residual_normalization import ResidualNormalization


@keras.saving.register_keras_serializable(package="kerasllm")
class RMSNormalization(ResidualNormalization, keras.layers.RMSNormalization):
    """`keras.layers.RMSNormalization` in one op, with the residual sum and dropout before it.

    Constructor, weights and results are those of `keras.layers.RMSNormalization`, and weights go
    both ways. The op serves the last axis in float32 and bfloat16; other axes, several axes and
    other dtypes run Keras's own code.

    Examples:

    >>> layer = kerasllm.layers.RMSNormalization()
    >>> outputs, hidden_states = layer(attention, residual=hidden_states)

    Args:
        axis: As in `keras.layers.RMSNormalization`.
        epsilon: Added to the mean square. Defaults to `1e-6`.
        **kwargs: Those of every layer.

    Call arguments:
        inputs: `(..., dim)`.
        residual: Added to `inputs` before the normalisation, in the shape of `inputs`; or None.
        dropout_rate: The share of `inputs` dropped before that, a float in `[0, 1)`. Zero, by
            default, where the caller is not training.
        seed: int32 `(2,)`, as `kerasllm.ops.draw_seed` gives it; needed for dropout.
        return_sum: Whether to return the sum where there is a residual. False saves its gradient.

    Returns:
        The normalised, in the shape of `inputs`; with `residual` and `return_sum` a tuple of that
        and `residual + dropout(inputs)`.
    """

    def op_arguments(self):
        return {"gamma": self.scale, "beta": None, "epsilon": self.epsilon, "rms": True}
