"""A small transformer classifier for tests of fine-tuning, and rows that it can learn."""

import functools

import keras
import numpy as np

from kerasllm.models import TransformerClassifier


def make_model(dropout=0.0, dtype=None, seed=0, num_layers=3, **arguments):
    keras.utils.set_random_seed(seed)
    model = TransformerClassifier(
        50, 3, 16, num_layers=num_layers, num_heads=2, max_length=12, dropout=dropout, dtype=dtype,
        **arguments,
    )  # fmt: skip
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:  # what is zeros or ones would hide mistakes
        if weight.name in ("bias", "beta", "gamma"):
            weight.assign(weight + 0.1 * generator.normal(size=weight.shape))
    return model


make_small_model = functools.partial(make_model, num_layers=2)


def make_rows(count=24, length=9, seed=0):
    """Token ids `(count, length)` with padding, and labels that the first token gives away."""
    generator = np.random.default_rng(seed)
    token_ids = generator.integers(3, 50, (count, length)).astype("int32")
    labels = (token_ids[:, 0] % 3).astype("int32")
    for row, padding in enumerate(generator.integers(0, length - 2, count)):
        token_ids[row, length - padding :] = 0
    return token_ids, labels


def make_dataset(batch_size=8, **arguments):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(make_rows(**arguments)).batch(batch_size)
