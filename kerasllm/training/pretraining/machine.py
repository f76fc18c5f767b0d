"""What the machine can do, and what a model asks of it."""

import time

import numpy as np

_SIZE = 2048


def measure_peak(dtype="float32", seconds=1.5):
    """The arithmetic of a large matrix product, in operations a second: the machine's peak.

    The fastest of as many products of 2048 x 2048 matrices as fit in the time: others may use the
    machine too, and a mean would flatter what is compared with it.

    Args:
        dtype: `"float32"` or `"bfloat16"`.
        seconds: How long to measure.
    """
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_uniform((_SIZE, _SIZE), (0, 0)), dtype)
    fastest, end = np.inf, time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        # Reading one element waits for the product, on a GPU too.
        float(tf.matmul(matrix, matrix)[0, 0])
        now = time.perf_counter()
        fastest = min(fastest, now - start)
        if now > end:
            return 2 * _SIZE**3 / fastest


def training_flops_per_token(
    weights,
    vocabulary_weights=0,
    predicted_share=1.0,
    attention_layers=0,
    attention_dim=0,
    keys_per_query=0,
):
    """The arithmetic of a training step for each token: forward, and twice that backward.

    Two operations for each weight of a matrix forward; attention takes for each query and layer two
    products of `attention_dim` with each key (Kaplan et al., Scaling Laws for Neural Language
    Models, 2020). Lookups, normalisation and activations are left out.

    Args:
        weights: Number of weights that each token is multiplied with, without the vocabulary's.
        vocabulary_weights: Those of the last layer.
        predicted_share: The share of tokens that the last layer sees.
        attention_layers: Number of layers with attention.
        attention_dim: Heads times head size.
        keys_per_query: Keys that a query sees on average.
    """
    attention = 4 * attention_layers * attention_dim * keys_per_query
    return 3 * (2 * weights + 2 * vocabulary_weights * predicted_share + attention)


def matrix_weights(model):
    """Number of weights of a model's matrices, without tables of embeddings and the last layer's.

    Args:
        model: A Keras model whose tables' variables are named `embeddings` and whose last layer is
            named `head`.
    """
    return sum(
        int(np.prod(weight.shape))
        for weight in model.trainable_weights
        if len(weight.shape) >= 2
        and not weight.path.endswith("embeddings")
        and "head/" not in weight.path
    )
