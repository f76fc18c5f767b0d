"""Adversarial training on the embeddings: FGM and PGD."""

from kerasllm.training.regularizers.base import Regularizer
from kerasllm.training.regularizers.lazy_tensorflow import tf


class FGM(Regularizer):
    """Adds the loss at embeddings moved by `epsilon` in the direction in which the loss grows most.

    The direction is the gradient of each text by itself, normalised over its steps and features;
    padding is not moved. It costs one pass more, forward and backward: the gradients that the plain
    step computes anyway give the direction. Dropout drops the same in both passes.

    Source: Miyato, Dai, Goodfellow, Adversarial Training Methods for Semi-Supervised Text
    Classification, 2017, equations 5 and 6.

    Examples:

    >>> kerasllm.training.regularize(model, [kerasllm.training.FGM(epsilon=0.5)])

    Args:
        epsilon: The length (L2 norm) of a text's perturbation, in the units of the embeddings. A
            text of 20 tokens has a length of about 1.5 with Keras's initial embeddings of 128.
        weight: The weight of the adversarial loss. 1.0 by default.

    Raises:
        ValueError: If `epsilon` or `weight` is not above 0.
    """

    def __init__(self, epsilon=0.5, weight=1.0):
        self.epsilon = positive("epsilon", epsilon)
        self.weight = positive("weight", weight)

    def extra_gradients(self, step, clean, embedding_gradients):
        perturbation = self.epsilon * unit(masked(embedding_gradients, clean.mask))
        return adversarial_gradients(step, perturbation, self.weight)


class PGD(Regularizer):
    """Adds the loss at embeddings moved in several steps, each in the direction of its own.

    After each step the perturbation is brought back into the ball of radius `epsilon`. As with
    `FGM`, whose first step this is, lengths are those of a text. It costs `steps` passes more.

    Source: Madry, Makelov, Schmidt, Tsipras, Vladu, Towards Deep Learning Models Resistant to
    Adversarial Attacks, 2018. They train on the adversarial loss alone; here it is added.

    Examples:

    >>> kerasllm.training.regularize(model, [kerasllm.training.PGD(epsilon=0.5, steps=3)])

    Args:
        epsilon: The largest length (L2 norm) of a text's perturbation.
        step_size: The length of a step.
        steps: The number of steps. 3 by default.
        weight: The weight of the adversarial loss. 1.0 by default.

    Raises:
        ValueError: If an argument is not above 0.
    """

    def __init__(self, epsilon=0.5, step_size=0.2, steps=3, weight=1.0):
        self.epsilon = positive("epsilon", epsilon)
        self.step_size = positive("step_size", step_size)
        self.steps = int(positive("steps", steps))
        self.weight = positive("weight", weight)

    def extra_gradients(self, step, clean, embedding_gradients):
        perturbation = tf.zeros_like(embedding_gradients)
        for number in range(self.steps):
            if number:  # the first direction is known
                embedding_gradients = step.perturbation_gradients(perturbation, lambda p: p.loss)
            direction = unit(masked(embedding_gradients, clean.mask))
            perturbation = self._project(perturbation + self.step_size * direction)
        return adversarial_gradients(step, perturbation, self.weight)

    def _project(self, perturbation):
        return perturbation * tf.minimum(
            1.0, tf.math.divide_no_nan(self.epsilon, norms(perturbation))
        )


def adversarial_gradients(step, perturbation, weight):
    """Loss and gradients of the pass with a perturbation, which itself is taken as given."""
    perturbation = tf.stop_gradient(perturbation)
    return step.gradients(lambda: weight * step.forward(perturbation, same_noise=True).loss)


def masked(tensor, mask):
    """The tensor `(batch, time, dim)`, zero where the mask `(batch, time)` is false."""
    return tensor if mask is None else tensor * tf.cast(mask, tensor.dtype)[..., None]


def norms(tensor):
    """Each row's L2 norm over all but the first axis, which are kept with length 1.

    The row's largest element is taken out first: gradients of rows that the model is sure of are so
    small that their squares vanish.
    """
    axes = list(range(1, tensor.shape.rank))
    largest = tf.reduce_max(tf.abs(tensor), axis=axes, keepdims=True)
    scaled = tf.math.divide_no_nan(tensor, largest)
    return largest * tf.sqrt(tf.reduce_sum(tf.square(scaled), axis=axes, keepdims=True))


def unit(tensor):
    """Each row divided by its norm; zero stays zero."""
    return tf.math.divide_no_nan(tensor, norms(tensor))


def positive(name, value):
    """The value, if it is a number above 0.

    Raises:
        ValueError: If it is not.
    """
    if not value > 0:
        raise ValueError(f"{name} is {value}; expected a number above 0.")
    return value
