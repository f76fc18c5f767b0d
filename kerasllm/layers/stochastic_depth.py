"""Leaving out a residual branch for some rows."""

import keras
from keras import ops

from kerasllm.ops.dropout import dropout
from kerasllm.ops.random import draw_seed


@keras.saving.register_keras_serializable(package="kerasllm")
class StochasticDepth(keras.layers.Layer):
    """Adds a residual branch to its input, in training for a share of the rows only.

    A row keeps its branch with probability `1 - rate`, scaled up by `1 / (1 - rate)`; without
    training every row has its branch as it is. The random numbers follow from the seed alone, as
    those of `kerasllm.layers.Dropout`.

    Source: Huang, Sun, Liu, Sedra, Weinberger, Deep Networks with Stochastic Depth, 2016.

    Examples:

    >>> x = StochasticDepth(0.1)([x, feed_forward(norm(x))])

    Args:
        rate: The share of rows whose branch is left out, a float in `[0, 1)`; deeper blocks usually
            get more.
        seed: An integer, or None for one at random.
        **kwargs: Those of every layer.

    Call arguments:
        inputs: The input and the branch, two tensors `(batch, ...)` of one shape.
        training: Whether branches are left out.

    Returns:
        A tensor of that shape.

    Raises:
        ValueError: If `rate` is not in `[0, 1)`.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate is {rate}; expected 0 or more, below 1.")
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs, training=False):
        residual, branch = inputs
        if not training or self.rate == 0:
            return residual + branch
        rows = ops.shape(branch)[0]
        factors = dropout(ops.ones((rows, 1)), self.rate, draw_seed(self.seed_generator))
        factors = ops.reshape(factors, (rows,) + (1,) * (len(branch.shape) - 1))
        return residual + branch * ops.cast(factors, branch.dtype)

    def compute_mask(self, inputs, mask=None):
        return mask[0] if isinstance(mask, (list, tuple)) else mask

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
