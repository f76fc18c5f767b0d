"""Chinese words inside a model: text in, a ragged tensor of words out."""

import keras

from kerasllm.text.jieba_tokenizer import LONGEST_RUN, JiebaTokenizer


@keras.saving.register_keras_serializable(package="kerasllm")
class JiebaSegmentation(keras.layers.Layer):
    """Cuts texts into words, as `kerasllm.text.JiebaTokenizer` does, inside the graph.

    It runs on TensorFlow's threads and is saved in a SavedModel with its dictionary (16 MB), so a
    server needs the native library and neither Python nor jieba. A `.keras` file holds only the
    arguments; the dictionary is then that of the jieba which is installed. TensorFlow backend only.

    Bytes that are no UTF-8 are characters that no word has.

    Examples:

    >>> layer = JiebaSegmentation()
    >>> layer(["我来到北京清华大学"]).to_list()[0][2].decode()
    '北京'

    Args:
        mode: `"cut"`, `"all"` or `"search"`, see `JiebaTokenizer`.
        hmm: Whether a hidden Markov model finds words that the dictionary lacks.
        user_dictionary: Words to add, see `JiebaTokenizer`.
        keep_blanks: Whether tokens that are blank are kept.
        **kwargs: Those of every layer.

    Call arguments:
        inputs: A string tensor `(batch,)` or of any other rank that is known, UTF-8.

    Returns:
        A `tf.RaggedTensor` of strings, `(batch, words)`.

    Raises:
        ValueError: If an argument is none of these.
        RuntimeError: If Keras does not run on TensorFlow, or the native library is not there.
    """

    def __init__(self, mode="cut", hmm=True, user_dictionary=None, keep_blanks=False, **kwargs):
        super().__init__(**kwargs)
        if keras.config.backend() != "tensorflow":
            raise RuntimeError(
                "JiebaSegmentation works on strings, which Keras has on TensorFlow only, but Keras"
                f" runs on {keras.config.backend()}. Set KERAS_BACKEND=tensorflow, or cut the texts"
                " before the model with kerasllm.text.JiebaTokenizer."
            )
        from kerasllm_ops.jieba import JiebaDictionary

        self.tokenizer = JiebaTokenizer(mode, hmm, user_dictionary, keep_blanks)
        self._dictionary = JiebaDictionary(
            (word, frequency) for word, frequency, _ in self.tokenizer.user_dictionary
        )
        self.supports_jit = False  # XLA knows no strings
        self.built = True

    def call(self, inputs):
        from kerasllm_ops.jieba import jieba_cut

        tokenizer = self.tokenizer
        words, _, _ = jieba_cut(
            inputs,
            self._dictionary,
            tokenizer.mode,
            tokenizer.hmm,
            tokenizer.keep_blanks,
            LONGEST_RUN,
        )
        return words

    def get_config(self):
        return {**super().get_config(), **self.tokenizer.get_config()}
