"""The cleaning of texts as a layer."""

import keras

from kerasllm.layers.string_layer import StringLayer
from kerasllm.text.cleaning import TextCleaner


@keras.saving.register_keras_serializable(package="kerasllm")
class TextCleaning(StringLayer):
    """Cleans texts as `kerasllm.text.TextCleaner` does, in C++ inside the graph.

    The switches, their defaults and results are those of `TextCleaner`. TensorFlow backend only,
    with the native library.

    Examples:

    >>> TextCleaning()(["<p>太好吃了&nbsp;　！</p>"])[0].numpy().decode()
    '太好吃了 !'

    Args:
        name: The layer's name.
        **switches: The arguments of `TextCleaner`.

    Call arguments:
        inputs: A string tensor of any shape, UTF-8; bytes that are none become U+FFFD.

    Returns:
        A string tensor of the same shape.

    Raises:
        ValueError: If a switch is none.
        RuntimeError: If Keras does not run on TensorFlow, or the native library is not there.
    """

    def __init__(self, *, name=None, dtype=None, trainable=True, **switches):
        super().__init__("kerasllm.text.TextCleaner", name=name, dtype=dtype, trainable=trainable)
        self.cleaner = TextCleaner(**switches)

    def call(self, inputs):
        from kerasllm_ops.text_cleaning import text_cleaning

        return text_cleaning(inputs, **self.cleaner.get_config())

    def get_config(self):
        return {**super().get_config(), **self.cleaner.get_config()}
