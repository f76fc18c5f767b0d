"""Penalties on weights and their decay, on a model as it is."""

import re

from kerasllm.training.regularizers.adversarial import positive
from kerasllm.training.regularizers.base import Regularizer
from kerasllm.training.regularizers.lazy_tensorflow import tf
from kerasllm.training.regularizers.step import replicas

# The matrices: kernels, recurrent kernels and embeddings, not biases nor normalisation gains.
MATRICES = "(kernel|embeddings)$"


class WeightPenalty(Regularizer):
    """Adds `l1 * sum(|w|) + l2 * sum(w ** 2)` over the weights whose path matches a pattern.

    What Keras does with `kernel_regularizer=keras.regularizers.L1L2(l1, l2)`, which has to be given
    when a layer is made.

    Examples:

    >>> kerasllm.training.regularize(model, [kerasllm.training.WeightPenalty(l2=1e-5)])

    Args:
        l1: The weight of the absolute values. 0.0 by default.
        l2: The weight of the squares. 0.0 by default.
        pattern: A regular expression that is searched in weights' paths. By default kernels,
            recurrent kernels and embeddings.

    Raises:
        ValueError: If `l1` or `l2` is negative or both are 0.
    """

    needs_embedding = False

    def __init__(self, l1=0.0, l2=0.0, pattern=MATRICES):
        if not (l1 >= 0 and l2 >= 0 and l1 + l2 > 0):
            raise ValueError(f"l1 is {l1} and l2 is {l2}; expected one of them above 0.")
        self.l1, self.l2, self.pattern = l1, l2, pattern

    def check(self, model):
        matching_weights(model, self.pattern)

    def penalty(self, step, clean):
        total = 0.0
        for weight in matching_weights(step.model, self.pattern):
            value = tf.convert_to_tensor(weight.value)
            if self.l1:
                total += self.l1 * tf.reduce_sum(tf.abs(value))
            if self.l2:
                total += self.l2 * tf.reduce_sum(tf.square(value))
        return total / replicas()


class WeightDecay(Regularizer):
    """Takes `learning_rate * rate` of the weights away before each update.

    Decoupled from the gradients and so from the optimizer's scaling of them: with
    `keras.optimizers.Adam` this is `keras.optimizers.AdamW`, but weights are chosen by their paths
    on a model that is compiled, or loaded, already.

    Source: Loshchilov, Hutter, Decoupled Weight Decay Regularization, 2019.

    Examples:

    >>> kerasllm.training.regularize(model, [kerasllm.training.WeightDecay(0.01)])

    Args:
        rate: The decay. 0.01 by default.
        pattern: A regular expression that is searched in weights' paths. By default kernels,
            recurrent kernels and embeddings.

    Raises:
        ValueError: If `rate` is not above 0; in `regularize`, under several replicas.
    """

    needs_embedding = False

    def __init__(self, rate=0.01, pattern=MATRICES):
        self.rate, self.pattern = positive("rate", rate), pattern

    def check(self, model):
        matching_weights(model, self.pattern)
        if replicas() > 1:
            raise ValueError("WeightDecay is for one replica; take the optimizer's weight_decay.")

    def before_update(self, model):
        optimizer = model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        steps = inner.gradient_accumulation_steps or 1
        share = tf.cast(inner.learning_rate, "float32") * self.rate / steps
        for weight in matching_weights(model, self.pattern):
            weight.assign_sub(weight.value * tf.cast(share, weight.dtype))


def matching_weights(model, pattern):
    """The trainable weights whose path a pattern is found in.

    Raises:
        ValueError: If there is none.
    """
    found = [weight for weight in model.trainable_weights if re.search(pattern, weight.path)]
    if not found:
        paths = ", ".join(weight.path for weight in model.trainable_weights)
        raise ValueError(f"{pattern!r} matches no trainable weight of {model.name}: {paths}.")
    return found
