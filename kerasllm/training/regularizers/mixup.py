"""Mixup of texts, between the embedding and what follows."""

import numpy as np
import tensorflow as tf

from kerasllm.training.regularizers.adversarial import masked, positive
from kerasllm.training.regularizers.base import Regularizer
from kerasllm.training.regularizers.noise import uniform


class Mixup(Regularizer):
    """Mixes each text's embeddings and label with those of another text of the batch.

    Both are `share * own + (1 - share) * other`, the share being drawn for each text from
    Beta(alpha, alpha), and turned round where it is below one half: the text keeps the larger
    part, which is the same mixture and lets metrics go by its own label. The label is mixed in the
    loss, so it may be of any kind. Padding counts as zeros, and the mask covers the longer text; a
    model that makes its mask from the token ids, and not from the embedding's, sees the own length
    only. It costs no further pass. The loss has to be a mean over the batch, as Keras's are.

    Source: Zhang, Cisse, Dauphin, Lopez-Paz, mixup: Beyond Empirical Risk Minimization, 2018; Guo,
    Mao, Zhang, Augmenting Data with Mixup for Sentence Classification, 2019 (wordMixup).

    Args:
        alpha: The parameter of the distribution; the larger, the nearer to halves. 0.2 by default.
    """

    num_draws = 65_536

    def __init__(self, alpha=0.2):
        self.alpha = positive("alpha", alpha)
        # The compiled step has no Beta distribution, so it picks among draws made beforehand.
        draws = np.random.default_rng(0).beta(alpha, alpha, self.num_draws)
        self._shares = np.maximum(draws, 1 - draws).astype("float32")

    def mix_labels(self, batch_size, noise):
        order = tf.argsort(uniform([batch_size], noise))
        # A cycle through the shuffled rows: no row is its own partner, unless it is alone.
        partner = tf.scatter_nd(order[:, None], tf.roll(order, 1, 0), [batch_size])
        drawn = tf.cast(self.num_draws * uniform([batch_size], noise + 1), "int32")
        return partner, tf.gather(tf.constant(self._shares), drawn)

    def change_embeddings(self, embeddings, mask, noise):
        partner, share = self.mix_labels(tf.shape(embeddings)[0], noise)
        share = tf.cast(share, embeddings.dtype)[:, None, None]
        own = masked(embeddings, mask)
        return share * own + (1 - share) * tf.gather(own, partner), mask | tf.gather(mask, partner)
