"""A classifier's head that drops several times."""

import keras
from keras import ops

from kerasllm.ops.dropout import dropout
from kerasllm.ops.random import draw_seed


@keras.saving.register_keras_serializable(package="kerasllm")
class MultiSampleDropout(keras.layers.Dense):
    """A dense layer over several dropouts of its input, each with the loss of its own.

    Only the last layer is computed several times, and training needs fewer epochs. The loss is the
    mean of the samples' cross-entropies, as in the paper, without the loss function knowing: in
    training the layer gives the mean of the samples' log-probabilities `z`, whose cross-entropy
    `logsumexp(z) - z[label]` lacks only `-logsumexp(z)`, which the layer adds to the losses of the
    model. That holds for a cross-entropy on logits, with smoothed labels too, that is not weighted
    by rows or classes. Without training the layer is the dense layer.

    Source: Inoue, Multi-Sample Dropout for Accelerated Training and Better Generalization, 2019.

    Examples:

    >>> logits = kerasllm.layers.MultiSampleDropout(3, rate=0.5, num_samples=8)(pooled)

    Args:
        units: Number of classes.
        rate: The share of inputs that a sample drops, in `[0, 1)`. 0.5 by default.
        num_samples: How many samples, 1 or more. 8 by default.
        seed: An integer, or None for one at random.
        **kwargs: Those of `keras.layers.Dense` but for `activation`.

    Call arguments:
        inputs: `(batch, dim)`.
        training: Whether to drop.

    Returns:
        Logits `(batch, units)`.

    Raises:
        ValueError: If an argument makes no sense.
    """

    def __init__(self, units, rate=0.5, num_samples=8, seed=None, **kwargs):
        if not 0 <= rate < 1 or num_samples < 1:
            raise ValueError(
                f"rate is {rate} and num_samples {num_samples}; expected a rate in [0, 1) and 1 "
                "sample or more."
            )
        if kwargs.pop("activation", None) not in (None, "linear"):
            raise ValueError("MultiSampleDropout gives logits and takes no activation.")
        super().__init__(units, **kwargs)
        self.rate, self.num_samples, self.seed = rate, num_samples, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return super().call(inputs)
        rows, dim = ops.shape(inputs)[0], inputs.shape[-1]
        samples = ops.reshape(ops.tile(inputs, (1, self.num_samples)), (-1, dim))
        samples = dropout(samples, self.rate, draw_seed(self.seed_generator))
        logits = ops.cast(super().call(samples), "float32")
        log_probabilities = ops.reshape(
            ops.log_softmax(logits), (rows, self.num_samples, self.units)
        )
        mean = ops.mean(log_probabilities, axis=1)
        self.add_loss(-ops.mean(ops.logsumexp(mean, axis=-1)))
        return ops.cast(mean, self.compute_dtype)

    def get_config(self):
        config = super().get_config()
        del config["activation"]
        return {**config, "rate": self.rate, "num_samples": self.num_samples, "seed": self.seed}
