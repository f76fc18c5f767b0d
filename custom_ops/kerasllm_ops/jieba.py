"""jieba's segmentation inside a TensorFlow graph, saved with the model that uses it."""

import itertools
import os
import pathlib
import shutil
import tempfile
import weakref

import tensorflow as tf

from kerasllm_ops.jieba_engine import JiebaEngine, shared_engine
from kerasllm_ops.loader import required_ops

_numbers = itertools.count()


class JiebaDictionary(tf.saved_model.experimental.TrackableResource):
    """jieba's dictionary as a resource of TensorFlow's.

    An attribute of a `tf.Module` or Keras layer, it is saved in a SavedModel as an asset of 16 MB.
    Whoever loads that needs the native library but neither jieba nor this module. Dictionaries of
    equal content are in memory once (25 MB), however many resources there are.

    Args:
        words: The user's words, see `kerasllm_ops.jieba_engine.JiebaEngine`.

    Raises:
        RuntimeError: If the native library is not there.
        ValueError: If the words' frequencies are too large.
    """

    def __init__(self, words=()):
        super().__init__(device="CPU")
        required_ops("jieba")
        words = list(words)
        engine = JiebaEngine(words) if words else shared_engine()
        folder = tempfile.mkdtemp(prefix="kerasllm-")
        path = pathlib.Path(folder) / "jieba.dictionary"
        path.write_bytes(engine.serialize())
        self._shared_name = f"kerasllm_jieba_{os.getpid()}_{next(_numbers)}"
        with tf.init_scope():
            self._model_file = self._track_trackable(tf.saved_model.Asset(str(path)), "model_file")
            self._initialize()
        # The file lives as long as the asset, as the model may be saved at any time; TensorFlow
        # copies the resource for that, but not the asset.
        weakref.finalize(self._model_file, shutil.rmtree, folder, ignore_errors=True)
        # Not by _destroy_resource, which a SavedModel would have too: a signature that is in use
        # does not keep the object alive that tf.saved_model.load gave.
        weakref.finalize(self, _destroy, self.resource_handle).atexit = False

    def _create_resource(self):
        return required_ops("jieba").kerasllm_jieba_dictionary(shared_name=self._shared_name)

    def _initialize(self):
        required_ops("jieba").kerasllm_jieba_dictionary_initialize(
            self.resource_handle, self._model_file.asset_path
        )


def _destroy(handle):
    # The garbage is collected at any moment, and tf.init_scope does not leave a tf.Graph that is
    # none of a function's, which a SavedModel is written and read through.
    with tf.__internal__.eager_context.eager_mode():
        tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=True)


def jieba_cut(texts, dictionary, mode="cut", hmm=True, keep_blanks=False, longest_run=0):
    """Cuts texts into words as jieba 0.42.1 does, to the last token.

    Bytes that are no UTF-8 are characters that no word has: one for each U+FFFD that
    `bytes.decode("utf-8", "replace")` would put there. The tokens hold the bytes themselves. (jieba
    reads a whole text as GBK if it is not UTF-8.)

    Args:
        texts: A string tensor of known rank or a `tf.RaggedTensor`, UTF-8.
        dictionary: A `JiebaDictionary`.
        mode: `"cut"`, `"all"` or `"search"`: `jieba.cut`, `jieba.cut(cut_all=True)` or
            `jieba.cut_for_search`.
        hmm: Whether a hidden Markov model finds words that the dictionary lacks.
        keep_blanks: Whether blank and empty tokens are kept.
        longest_run: Where runs of letters, digits and Chinese characters are cut before anything
            else, as texts of their own; 0 for nowhere. (jieba takes quadratic time for a long run,
            so `kerasllm.text.JiebaTokenizer` cuts at 5,000; this does not need to.)

    Returns:
        `(words, starts, ends)`, each with one dimension more than `texts`, the last one ragged: the
        tokens, and the offsets in bytes where each begins and ends in its text. They are vectors if
        `texts` is a scalar, else `tf.RaggedTensor`s. A token is what lies between its offsets, but
        for one in mode `"all"`: Latin words that jieba joins across another.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If a text has 2**31 bytes or more.
        ValueError: If the rank of `texts` is not known.
    """
    if isinstance(texts, tf.RaggedTensor):
        flat = jieba_cut(texts.flat_values, dictionary, mode, hmm, keep_blanks, longest_run)
        return tuple(texts.with_flat_values(part) for part in flat)
    texts = tf.convert_to_tensor(texts, tf.string)
    if texts.shape.rank is None:
        raise ValueError("jieba_cut takes texts of known rank.")
    found = required_ops("jieba").kerasllm_jieba_cut(
        dictionary=dictionary.resource_handle,
        texts=tf.reshape(texts, [-1]),
        mode=mode,
        hmm=hmm,
        keep_blanks=keep_blanks,
        longest_run=longest_run,
    )
    parts = found.values, found.starts, found.ends
    if texts.shape.rank == 0:
        return parts
    return tuple(_shaped(part, found.row_splits, texts) for part in parts)


def _shaped(values, row_splits, texts):
    """Tokens of the flattened texts as a ragged tensor with the dimensions of the texts."""
    ragged = tf.RaggedTensor.from_row_splits(values, row_splits, validate=False)
    shape = tf.shape(texts, tf.int64)
    for axis in range(texts.shape.rank - 1, 0, -1):
        length = shape[axis] if texts.shape[axis] is None else texts.shape[axis]
        num_rows = tf.reduce_prod(shape[:axis])  # asked for where the length is 0
        ragged = tf.RaggedTensor.from_uniform_row_length(ragged, length, num_rows)
    return ragged
