"""What the layers share that work on strings."""

import keras


class StringLayer(keras.layers.Layer):
    """Base class of layers on string tensors: TensorFlow only, never compiled by XLA.

    Args:
        instead: What does the same outside of the model, for the message.
        **kwargs: Those of every layer.

    Raises:
        RuntimeError: If Keras does not run on TensorFlow.
    """

    def __init__(self, instead, **kwargs):
        super().__init__(**kwargs)
        if keras.config.backend() != "tensorflow":
            raise RuntimeError(
                f"{type(self).__name__} works on strings, which Keras has on TensorFlow only, but"
                f" Keras runs on {keras.config.backend()}. Set KERAS_BACKEND=tensorflow, or do it"
                f" before the model with {instead}."
            )
        self.supports_jit = False  # XLA knows no strings
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self.built = True


def string_vector(texts):
    """Texts, `(batch,)` or `(batch, 1)` or a list of str, as a string tensor `(batch,)`."""
    import tensorflow as tf

    texts = tf.convert_to_tensor(texts, tf.string)
    return tf.squeeze(texts, -1) if texts.shape.rank == 2 else texts
