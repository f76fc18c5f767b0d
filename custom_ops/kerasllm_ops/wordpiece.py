"""BERT's tokenisation inside the graph: string tensors in, ids out."""

import hashlib

import tensorflow as tf

from kerasllm_ops.loader import required_ops


class WordpieceVocabulary(tf.saved_model.experimental.TrackableResource):
    """A vocabulary for the ops below, which a SavedModel takes along as an asset, `vocab.txt`.

    Vocabularies of the same tokens and options are one in a process, and stay until it ends.

    Args:
        tokens: A list of str; a token's place is its id.
        options: A `kerasllm_ops.wordpiece_engine.WordpieceOptions`.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If the tokens are no vocabulary, or lack a special token.
    """

    def __init__(self, tokens, options):
        super().__init__(device="CPU")
        self._ops = required_ops("wordpiece")
        self._options = options
        content = "".join(f"{token}\n" for token in tokens).encode("utf-8")
        digest = hashlib.sha256(content + repr(options).encode("utf-8")).hexdigest()
        self._shared_name = f"kerasllm_wordpiece_{digest}"
        with tf.init_scope():
            # A file in memory, from which saving copies.
            path = f"ram://{self._shared_name}/vocab.txt"
            if not tf.io.gfile.exists(path):
                with tf.io.gfile.GFile(path, "wb") as file:
                    file.write(content)
            # By name, as TensorFlow's own tables do: resources do not track their attributes.
            self._asset = self._track_trackable(tf.saved_model.Asset(path), "vocabulary_file")
            self._initialize()

    def _create_resource(self):
        return self._ops.kerasllm_wordpiece_vocabulary(shared_name=self._shared_name)

    def _initialize(self):
        options = self._options
        self._ops.kerasllm_wordpiece_initialize(
            vocabulary=self.resource_handle,
            content=tf.io.read_file(self._asset.asset_path),
            lowercase=options.lowercase,
            strip_accents=options.strip_accents,
            split_cjk=options.split_cjk,
            special_tokens_in_text=options.special_tokens_in_text,
            max_characters_per_word=options.max_characters_per_word,
            special_tokens=list(options.special_tokens),
        )


def wordpiece_encode(
    vocabulary,
    texts,
    pairs=None,
    max_length=None,
    pad_to_max_length=False,
    truncation="longest_first",
    name=None,
):
    """The input of a BERT (Devlin, Chang, Lee and Toutanova, BERT, 2019): `[CLS] text [SEP]`, or
    `[CLS] text [SEP] pair [SEP]`, padded.

    Args:
        vocabulary: A `WordpieceVocabulary`.
        texts: string `(batch,)`, UTF-8. What is none counts as U+FFFD, which leaves no token.
        pairs: string `(batch,)`, or None.
        max_length: The longest row, special tokens included; longer ones are truncated. None for no
            limit.
        pad_to_max_length: Pad to `max_length`, else to the longest row of the batch.
        truncation: `"longest_first"`, `"only_first"` or `"only_second"`.
        name: The op's name.

    Returns:
        `(token_ids, segment_ids, padding_mask)`: int32, int32 and bool `(batch, length)`.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If shapes do not fit each other, or a row cannot be truncated so.
    """
    return required_ops("wordpiece").kerasllm_wordpiece_encode(
        vocabulary=vocabulary.resource_handle,
        texts=texts,
        pairs=tf.zeros((0,), tf.string) if pairs is None else pairs,
        has_pairs=pairs is not None,
        max_length=max_length or 0,
        truncation=truncation,
        pad_to_max_length=pad_to_max_length,
        name=name,
    )


def wordpiece_tokenize(vocabulary, texts, offset_unit="bytes", name=None):
    """The tokens of texts, without special tokens around them, and where they stand.

    Args:
        vocabulary: A `WordpieceVocabulary`.
        texts: string `(batch,)`, UTF-8. What is none counts as U+FFFD, which leaves no token.
        offset_unit: `"bytes"` or `"code_points"`.
        name: The op's name.

    Returns:
        `(token_ids, starts, ends)`: `tf.RaggedTensor`s `(batch, tokens)`, int32, int64 and int64.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If `texts` has another shape.
    """
    token_ids, row_splits, starts, ends = required_ops("wordpiece").kerasllm_wordpiece_tokenize(
        vocabulary=vocabulary.resource_handle, texts=texts, offset_unit=offset_unit, name=name
    )
    return tuple(
        tf.RaggedTensor.from_row_splits(values, row_splits, validate=False)
        for values in (token_ids, starts, ends)
    )
