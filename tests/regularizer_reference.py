"""A small classifier twice: as a Keras model, and as a float64 formula to check its gradients."""

import keras
import numpy as np
import tensorflow as tf

from kerasllm.layers import MaskedMeanPooling1D

VOCABULARY, DIM, HIDDEN, CLASSES = 30, 5, 7, 3


def make_batch(seed=0, rows=6, time=9):
    """Token ids with padding, the same token several times, and labels."""
    random = np.random.default_rng(seed)
    token_ids = random.integers(1, VOCABULARY, (rows, time)).astype("int32")
    for row, length in enumerate(random.integers(2, time + 1, rows)):
        token_ids[row, length:] = 0
    return token_ids, random.integers(0, CLASSES, rows)


def make_model(dropout=0.0, policy="float32", jit_compile=False, optimizer=None, loss=None):
    """Embedding, mean, tanh, logits; its update is the gradient: SGD with a learning rate of 1."""
    keras.utils.set_random_seed(3)
    token_ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(
        VOCABULARY, DIM, mask_zero=True, embeddings_initializer="normal", dtype=policy
    )(token_ids)
    x = keras.layers.Dropout(dropout, dtype=policy)(x)
    x = MaskedMeanPooling1D(dtype=policy)(x)
    x = keras.layers.Dense(HIDDEN, "tanh", dtype=policy)(x)
    model = keras.Model(token_ids, keras.layers.Dense(CLASSES, dtype="float32")(x))
    for weight in model.weights:
        weight.assign(10 * weight if "embeddings" in weight.path else 2 * weight)
    model.compile(
        optimizer or keras.optimizers.SGD(1.0),
        loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )
    return model


def step_gradients(model, token_ids, labels, **options):
    """What one step takes away from the weights."""
    before = model.get_weights()
    model.train_on_batch(token_ids, labels, **options)
    return [old - new for old, new in zip(before, model.get_weights(), strict=True)]


class Formula:
    """The model without dropout in float64.

    Args:
        model: The Keras model.
        token_ids: ints `(batch, time)`.
        labels: ints `(batch,)`.
        sample_weight: floats `(batch,)`.
    """

    def __init__(self, model, token_ids, labels, sample_weight=None):
        self.weights = [tf.Variable(weight, dtype="float64") for weight in model.get_weights()]
        self.token_ids, self.labels = token_ids, labels
        self.mask = (token_ids != 0).astype("float64")[..., None]
        ones = np.ones(len(labels))
        self.sample_weight = ones if sample_weight is None else np.asarray(sample_weight)

    def embeddings(self):
        return tf.gather(self.weights[0], self.token_ids)

    def logits(self, embeddings, mask=None):
        _, kernel, bias, last_kernel, last_bias = self.weights
        mask = self.mask if mask is None else mask
        mean = tf.reduce_sum(embeddings * mask, 1) / tf.reduce_sum(mask, 1)
        return tf.tanh(mean @ kernel + bias) @ last_kernel + last_bias

    def loss(self, embeddings):
        rows = self.row_losses(self.logits(embeddings), self.labels)
        return tf.reduce_mean(rows * self.sample_weight)

    @staticmethod
    def row_losses(logits, labels):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def gradient_at(self, perturbation, objective=None):
        """The gradient of the loss, or of another function of embeddings, at a perturbation."""
        moved = tf.Variable(self.embeddings() + perturbation)
        with tf.GradientTape() as tape:
            loss = (objective or self.loss)(moved)
        return tape.gradient(loss, moved)

    def weight_gradients(self, objective):
        """The gradients of `objective()` in the order of the model's weights, dense."""
        with tf.GradientTape() as tape:
            loss = objective()
        return [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, self.weights)]


def unit_rows(tensor):
    """Each row over its L2 norm."""
    return tensor / np.sqrt((np.asarray(tensor) ** 2).sum((1, 2), keepdims=True))


def kl_rows(p, q):
    """KL(p || q) of each row's logits, in float64 NumPy or TensorFlow."""
    log_p, log_q = tf.nn.log_softmax(p), tf.nn.log_softmax(q)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), -1)


def assert_gradients(found, expected, rtol=1e-4):
    """Within a share of each weight's largest gradient."""
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=rtol * np.abs(theirs).max() + 1e-7)
