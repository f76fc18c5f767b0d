"""Mixup of texts, between the embedding and what follows."""

import numpy as np

from kerasllm.ops import random_uniform
from kerasllm.training.regularizers.adversarial import masked, positive
from kerasllm.training.regularizers.base import Regularizer
from kerasllm.training.regularizers.lazy_tensorflow import tf


class Mixup(Regularizer):
    """Mixes each text's embeddings and label with those of another text of the batch.

    Both are `share * own + (1 - share) * other`, the share being drawn for each text from
    Beta(alpha, alpha), and turned round where it is below one half: the text keeps the larger
    part, which is the same mixture and lets metrics go by its own label. The label is mixed in the
    loss, so it may be of any kind. Padding counts as zeros; a text whose partner is longer is as
    long as its partner. It costs no further pass. The loss has to be a mean over the batch, as
    Keras's are, and token ids the model's only input.

    Source: Zhang, Cisse, Dauphin, Lopez-Paz, mixup: Beyond Empirical Risk Minimization, 2018; Guo,
    Mao, Zhang, Augmenting Data with Mixup for Sentence Classification, 2019 (wordMixup).

    Examples:

    >>> kerasllm.training.regularize(model, [kerasllm.training.Mixup(alpha=0.2)])

    Args:
        alpha: The parameter of the distribution; the larger, the nearer to halves. 0.2 by default.
        pad_id: The id of padding, 0 by default.

    Raises:
        ValueError: If `alpha` is not above 0; in `regularize`, if the model has more than one
            input.
    """

    num_draws = 65_536

    def __init__(self, alpha=0.2, pad_id=0):
        self.pad_id = pad_id
        self.alpha = positive("alpha", alpha)
        # The compiled step has no Beta distribution, so it picks among draws made beforehand.
        draws = np.random.default_rng(0).beta(alpha, alpha, self.num_draws)
        self._shares = np.maximum(draws, 1 - draws).astype("float32")

    def mix_labels(self, batch_size, noise):
        order = tf.argsort(random_uniform(noise, batch_size))
        # A cycle through the shuffled rows: no row is its own partner, unless it is alone.
        partner = tf.scatter_nd(order[:, None], tf.roll(order, 1, 0), [batch_size])
        drawn = tf.cast(self.num_draws * random_uniform(noise + 1, batch_size), "int32")
        return partner, tf.gather(tf.constant(self._shares), drawn)

    def check(self, model):
        inputs = getattr(model, "inputs", None)  # a subclassed model has none
        if inputs is not None and len(inputs) != 1:
            raise ValueError(f"Mixup needs {model.name} to have one input, the token ids.")

    def change_inputs(self, inputs, noise):
        """Padding is filled with the partner's ids, for whoever makes a mask out of them."""
        partner, _ = self.mix_labels(tf.shape(inputs)[0], noise)
        return tf.where(inputs != self.pad_id, inputs, tf.gather(inputs, partner))

    def change_embeddings(self, embeddings, mask, noise, inputs):
        partner, share = self.mix_labels(tf.shape(embeddings)[0], noise)
        share = tf.cast(share, embeddings.dtype)[:, None, None]
        own = masked(embeddings, inputs != self.pad_id)
        return share * own + (1 - share) * tf.gather(own, partner)
