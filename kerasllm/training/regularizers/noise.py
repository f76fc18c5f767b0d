"""Random numbers that follow from a seed alone, the same with and without `jit_compile`."""

import tensorflow as tf

# Left to itself TensorFlow takes another generator under XLA.
_ALGORITHM = "philox"


def uniform(shape, noise):
    """float32 in `[0, 1)`; `noise` is int32 `(2,)`."""
    return tf.random.stateless_uniform(shape, noise, alg=_ALGORITHM)


def normal(shape, noise):
    """float32, mean 0, variance 1; `noise` is int32 `(2,)`."""
    return tf.random.stateless_normal(shape, noise, alg=_ALGORITHM)
