"""keras.layers.Dropout on the fused dropout op."""

import keras

from kerasllm.ops.dispatch import why_not_served
from kerasllm.ops.dropout import dropout
from kerasllm.ops.random import draw_seed


@keras.saving.register_keras_serializable(package="kerasllm")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` with random numbers made inside the op that uses them.

    Constructor, call arguments and the share of elements dropped are those of
    `keras.layers.Dropout`; the elements themselves are others, as the random numbers are. They
    follow from the seed alone: the same under eager, `tf.function` and `jit_compile`, whatever the
    number of threads. With a `noise_shape`, and in dtypes that the op does not take, Keras's own
    dropout runs.

    Examples:

    >>> layer = kerasllm.layers.Dropout(0.5, seed=1)
    >>> layer(np.ones((2, 3)), training=False)
    <tf.Tensor: shape=(2, 3), dtype=float32, numpy=
    array([[1., 1., 1.],
           [1., 1., 1.]], dtype=float32)>

    Args:
        rate: The share of elements dropped in training, a float in `[0, 1)`.
        noise_shape: As in `keras.layers.Dropout`.
        seed: An integer, or None for one at random.
        **kwargs: Those of every layer.
    """

    def call(self, inputs, training=False):
        fused = len(inputs.shape) and not self.why_not_fused()
        if not (fused and training and 0 < self.rate < 1):
            return super().call(inputs, training=training)
        return dropout(inputs, self.rate, draw_seed(self.seed_generator))

    def why_not_fused(self):
        """Why Keras's own dropout runs, as a sentence; None where the op serves."""
        if self.noise_shape is not None:
            return "it has a noise_shape"
        return why_not_served("dropout", self.compute_dtype)
