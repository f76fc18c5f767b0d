"""A penalty on the gradients of the loss with respect to the embeddings."""

from kerasllm.training.regularizers.adversarial import masked, norms, positive
from kerasllm.training.regularizers.base import Regularizer
from kerasllm.training.regularizers.lazy_tensorflow import tf


class GradientPenalty(Regularizer):
    """Adds `weight` times the mean over texts of the squared norm of the loss's gradient.

    Its own gradient needs second derivatives, which fused ops do not have. It is a Hessian times
    the gradient `g`, so it is taken as the central difference of the weights' gradients at
    embeddings moved by `+h g` and `-h g` (Pearlmutter, Fast Exact Multiplication by the Hessian,
    1994, says why that is enough), off by the square of `h`. So any model will do, and the
    cost is two passes more. The difference needs float32; lower precisions are refused.

    With `RDrop` the gradient is that of the first pass's part of the loss, divergence included.

    Source: Ross, Doshi-Velez, Improving the Adversarial Robustness and Interpretability of Deep
    Neural Networks by Regularizing their Input Gradients, 2018.

    Examples:

    >>> kerasllm.training.regularize(model, [kerasllm.training.GradientPenalty(0.1)])

    Args:
        weight: The weight of the penalty. 0.1 by default.

    Raises:
        ValueError: If `weight` is not above 0; in `regularize`, if the model computes in less than
            float32.
    """

    # The longest move, as a share of the embeddings' mean length.
    move = 1e-2

    def __init__(self, weight=0.1):
        self.weight = positive("weight", weight)

    def check(self, model):
        low = {
            layer.compute_dtype
            for layer in model._flatten_layers()
            if layer.compute_dtype in ("float16", "bfloat16")
        }
        if low:
            raise ValueError(
                f"GradientPenalty differences gradients, which {', '.join(low)} is too coarse for: "
                "train in float32, or take FGM, which needs no difference."
            )

    def extra_gradients(self, step, clean, embedding_gradients):
        rows = tf.cast(tf.shape(embedding_gradients)[0], "float32")
        # The loss is a mean over rows, so that a row's own gradient is that many times as large.
        row_gradients = masked(embedding_gradients, clean.mask) * rows
        lengths = norms(row_gradients)
        penalty = self.weight * tf.reduce_mean(tf.square(lengths))
        reach = self.move * tf.reduce_mean(norms(masked(clean.embeddings, clean.mask)))
        h = tf.math.divide_no_nan(reach, tf.reduce_max(lengths))
        move = tf.stop_gradient(h * row_gradients)

        def difference():
            forth = step.forward(move, same_noise=True).loss
            back = step.forward(-move, same_noise=True).loss
            return tf.math.divide_no_nan(self.weight, h) * (forth - back)

        _, gradients = step.gradients(difference)
        return penalty, gradients
