"""BERT's tokenizer as a layer: texts in, ids out, inside the model."""

import keras

from kerasllm.text.wordpiece_checks import check_encoding
from kerasllm.text.wordpiece_tokenizer import WordPieceTokenizer


@keras.saving.register_keras_serializable(package="kerasllm")
class WordPieceEncoding(keras.layers.Layer):
    """Makes the input of a BERT from string tensors, in C++ inside the graph.

    Does what `WordPieceTokenizer.encode` does. A saved model takes the vocabulary along, so it
    takes raw texts where it is served; a SavedModel needs only `libkerasllm_ops.so` there. For
    `tf.data`, use it in `map`. On the TensorFlow backend, with the native library.

    Examples:

        encode = WordPieceEncoding(WordPieceTokenizer("vocab.txt"), max_length=128)
        texts = keras.Input((), dtype="string")
        model = keras.Model(texts, encode(texts))

    Args:
        tokenizer: A `kerasllm.text.WordPieceTokenizer`.
        max_length: As in `WordPieceTokenizer.encode`.
        padding: As there; with `"max_length"` the length of the output is known beforehand.
        truncation: As there.
        **kwargs: Those of every layer.

    Call arguments:
        texts: string `(batch,)` or `(batch, 1)`.
        pairs: Second texts, of the same shape, or None.

    Returns:
        A dict of `"token_ids"` and `"segment_ids"`, int32 `(batch, length)`, and `"padding_mask"`,
        bool `(batch, length)`.

    Raises:
        RuntimeError: If Keras runs on another backend, or the native library is not there.
        ValueError: If an argument is none of those.
    """

    def __init__(
        self, tokenizer, max_length=None, padding="longest", truncation="longest_first", **kwargs
    ):
        super().__init__(**kwargs)
        if keras.config.backend() != "tensorflow":
            raise RuntimeError(
                f"WordPieceEncoding needs the TensorFlow backend, but Keras runs on"
                f" {keras.config.backend()}. Use kerasllm.text.WordPieceTokenizer.encode on the"
                " texts before they reach the model."
            )
        from kerasllm_ops.wordpiece import WordpieceVocabulary

        # With pairs the least max_length is one more, which the op checks.
        check_encoding(truncation == "only_second", max_length, padding, truncation)
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.padding = padding
        self.truncation = truncation
        self.supports_jit = False  # there are no strings in XLA
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self._vocabulary = WordpieceVocabulary(tokenizer.tokens, tokenizer.options)

    def call(self, texts, pairs=None):
        import tensorflow as tf
        from kerasllm_ops.wordpiece import wordpiece_encode

        def flat(strings):
            strings = tf.convert_to_tensor(strings, tf.string)
            return tf.squeeze(strings, -1) if strings.shape.rank == 2 else strings

        outputs = wordpiece_encode(
            self._vocabulary,
            flat(texts),
            None if pairs is None else flat(pairs),
            self.max_length,
            self.padding == "max_length",
            self.truncation,
        )
        return dict(zip(("token_ids", "segment_ids", "padding_mask"), outputs, strict=True))

    def get_config(self):
        return {
            **super().get_config(),
            "tokenizer": self.tokenizer.get_config(),
            "max_length": self.max_length,
            "padding": self.padding,
            "truncation": self.truncation,
        }

    @classmethod
    def from_config(cls, config):
        tokenizer = WordPieceTokenizer.from_config(config["tokenizer"])
        return cls(**{**config, "tokenizer": tokenizer})
