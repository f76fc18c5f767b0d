"""R-Drop: two passes with different dropout should predict the same."""

from kerasllm.training.regularizers.adversarial import positive
from kerasllm.training.regularizers.base import Regularizer
from kerasllm.training.regularizers.divergence import check_logits, kl_divergence


class RDrop(Regularizer):
    """Takes the loss of two passes and adds the divergence between their predictions.

    The loss becomes `(loss_1 + loss_2) / 2 + alpha * (KL(p_1 || p_2) + KL(p_2 || p_1)) / 2`. The
    paper's equation adds the two losses; their mean, as in its code, keeps the size of gradients,
    and so the learning rate, that of plain training. It costs one pass more, and does nothing for a
    model without dropout.

    Source: Liang, Wu, Li, Wang, Meng, Qin, Chen, Zhang, Liu, R-Drop: Regularized Dropout for Neural
    Networks, 2021.

    Examples:

    >>> kerasllm.training.regularize(model, [kerasllm.training.RDrop(alpha=1.0)])

    Args:
        alpha: The weight of the divergence. 1.0 by default; the paper takes 0.5 to 5.
        from_logits: Whether the model's outputs are logits, as those of kerasllm are, or
            probabilities.

    Raises:
        ValueError: If `alpha` is not above 0.
    """

    needs_embedding = False

    def __init__(self, alpha=1.0, from_logits=True):
        self.alpha = positive("alpha", alpha)
        self.from_logits = from_logits

    def check(self, model):
        check_logits(self, model)

    def penalty(self, step, clean):
        again = step.forward()
        p, q = clean.predictions, again.predictions
        divergence = kl_divergence(p, q, self.from_logits) + kl_divergence(q, p, self.from_logits)
        return (again.loss - clean.loss) / 2 + self.alpha / 2 * step.weighted_mean(divergence)
