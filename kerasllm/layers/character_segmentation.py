"""Characters inside a model: text in, a ragged tensor of characters out."""

import keras

from kerasllm.layers.string_layer import StringLayer, string_vector
from kerasllm.text.char_tokenizer import CharTokenizer


@keras.saving.register_keras_serializable(package="kerasllm")
class CharacterSegmentation(StringLayer):
    """Cuts texts into characters, as `kerasllm.text.CharTokenizer` does, inside the graph.

    TensorFlow backend only, with the native library.

    Examples:

    >>> [c.decode() for c in CharacterSegmentation(keep_words=True)(["买iPhone 15"]).to_list()[0]]
    ['买', 'iPhone', '15']

    Args:
        keep_words: Whether Latin words and numbers are one token each.
        keep_blanks: Whether blanks are tokens.
        **kwargs: Those of every layer.

    Call arguments:
        inputs: A string tensor `(batch,)` or `(batch, 1)`, UTF-8.

    Returns:
        A `tf.RaggedTensor` of strings, `(batch, characters)`.

    Raises:
        ValueError: If an argument is no bool.
        RuntimeError: If Keras does not run on TensorFlow, or the native library is not there.
    """

    def __init__(self, keep_words=False, keep_blanks=False, **kwargs):
        super().__init__("kerasllm.text.CharTokenizer", **kwargs)
        self.tokenizer = CharTokenizer(keep_words=keep_words, keep_blanks=keep_blanks)

    def call(self, inputs):
        from kerasllm_ops.text_encoding import characters

        tokens, _, _ = characters(
            string_vector(inputs), self.tokenizer.keep_words, self.tokenizer.keep_blanks
        )
        return tokens

    def get_config(self):
        return {**super().get_config(), **self.tokenizer.get_config()}
