"""Characters and vocabularies inside a TensorFlow graph."""

import hashlib

import tensorflow as tf

from kerasllm_ops.loader import required_ops


class Vocabulary(tf.saved_model.experimental.TrackableResource):
    """A vocabulary for `vocabulary_encode`, which a SavedModel takes along as `vocabulary.txt`.

    Vocabularies of the same content are one in a process, and stay until it ends.

    Args:
        content: bytes, what a file has that `kerasllm.text.Vocabulary.save` wrote.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If the content is no vocabulary.
    """

    def __init__(self, content):
        super().__init__(device="CPU")
        self._ops = required_ops("text_encoding")
        self._shared_name = f"kerasllm_vocabulary_{hashlib.sha256(content).hexdigest()}"
        with tf.init_scope():
            # A file in memory, from which saving copies.
            path = f"ram://{self._shared_name}/vocabulary.txt"
            if not tf.io.gfile.exists(path):
                with tf.io.gfile.GFile(path, "wb") as file:
                    file.write(content)
            # By name, as TensorFlow's own tables do: resources do not track their attributes.
            self._asset = self._track_trackable(tf.saved_model.Asset(path), "vocabulary_file")
            self._initialize()

    def _create_resource(self):
        return self._ops.kerasllm_vocabulary(shared_name=self._shared_name)

    def _initialize(self):
        self._ops.kerasllm_vocabulary_initialize(
            vocabulary=self.resource_handle, content=tf.io.read_file(self._asset.asset_path)
        )


def characters(texts, keep_words=False, keep_blanks=False, name=None):
    """Cuts texts into characters as a reader counts them, as `kerasllm.text.CharTokenizer` does.

    Args:
        texts: string `(batch,)`, UTF-8. Bytes that are none are characters of their own.
        keep_words: Whether Latin words and numbers are one token each.
        keep_blanks: Whether blanks are tokens.
        name: The op's name.

    Returns:
        `(tokens, starts, ends)`: `tf.RaggedTensor`s `(batch, tokens)`, the tokens and the offsets
        in bytes where each begins and ends in its text.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If `texts` has another shape.
    """
    found = required_ops("text_encoding").kerasllm_characters(
        texts=texts, keep_words=keep_words, keep_blanks=keep_blanks, name=name
    )
    return tuple(
        tf.RaggedTensor.from_row_splits(values, found.row_splits, validate=False)
        for values in (found.values, found.starts, found.ends)
    )


def vocabulary_encode(vocabulary, tokens, spell_unknown=False, max_length=None, name=None):
    """The ids of tokens, as `kerasllm.text.TextPipeline.encode` gives them, padded.

    Args:
        vocabulary: A `Vocabulary`.
        tokens: A `tf.RaggedTensor` of strings, `(batch, tokens)`.
        spell_unknown: Whether a token that the vocabulary lacks is given by its characters.
        max_length: Number of ids to which longer texts are cut, None for no limit.
        name: The op's name.

    Returns:
        int32 `(batch, length)`: 0 is padding, 1 stands for unknown tokens and is the only id of a
        text without any token. `length` is that of the longest text, 1 at least.

    Raises:
        RuntimeError: If the native library is not there.
    """
    return required_ops("text_encoding").kerasllm_vocabulary_encode(
        vocabulary=vocabulary.resource_handle,
        tokens=tokens.values,
        row_splits=tokens.row_splits,
        spell_unknown=spell_unknown,
        max_length=max_length or 0,
        name=name,
    )
