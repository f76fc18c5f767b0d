"""Virtual adversarial training on the embeddings."""

from kerasllm.ops import dropout
from kerasllm.training.regularizers.adversarial import masked, positive, unit
from kerasllm.training.regularizers.base import Regularizer
from kerasllm.training.regularizers.divergence import check_logits, kl_divergence
from kerasllm.training.regularizers.lazy_tensorflow import tf


class VirtualAdversarial(Regularizer):
    """Adds `KL(p(x) || p(x + r))`, `r` being the move of the embeddings that changes it most.

    `r` is found by power iteration from random signs and has the length `epsilon` for each
    text; it needs no labels. As in the paper no gradient goes through `p(x)`, and dropout drops the
    same in all passes: what is compared is the perturbation. It costs `1 + power_iterations` passes
    more.

    Source: Miyato, Maeda, Koyama, Ishii, Virtual Adversarial Training: A Regularization Method for
    Supervised and Semi-Supervised Learning, 2018.

    Examples:

    >>> kerasllm.training.regularize(model, [kerasllm.training.VirtualAdversarial(epsilon=0.5)])

    Args:
        epsilon: The length (L2 norm) of a text's perturbation.
        weight: The weight of the divergence. 1.0 by default.
        probe: The length at which the direction is sought: small against `epsilon`, large against
            the rounding of the dtype. 0.1 by default.
        power_iterations: Improvements of the direction. 1 by default.
        from_logits: Whether the model's outputs are logits, or probabilities.

    Raises:
        ValueError: If a number is not above 0.
    """

    def __init__(self, epsilon=0.5, weight=1.0, probe=0.1, power_iterations=1, from_logits=True):
        self.epsilon = positive("epsilon", epsilon)
        self.weight = positive("weight", weight)
        self.probe = positive("probe", probe)
        self.power_iterations = int(positive("power_iterations", power_iterations))
        self.from_logits = from_logits

    def check(self, model):
        check_logits(self, model)

    def penalty(self, step, clean):
        target = tf.stop_gradient(clean.predictions)

        def divergence(other):
            return step.weighted_mean(kl_divergence(target, other.predictions, self.from_logits))

        signs = dropout(tf.ones(tf.shape(clean.embeddings)), 0.5, step.noise(self)) - 1
        direction = unit(masked(signs, clean.mask))
        for _ in range(self.power_iterations):
            gradients = step.perturbation_gradients(self.probe * direction, divergence)
            direction = tf.stop_gradient(unit(masked(gradients, clean.mask)))
        worst = step.forward(self.epsilon * direction, same_noise=True)
        return self.weight * divergence(worst)
