"""BERT's tokenisation in C++ without TensorFlow: libkerasllm_text.so by ctypes.

Python's lock is released while the library works. Texts are lists of str, results NumPy arrays.
"""

import ctypes
import functools
import os
import re
from dataclasses import dataclass

from kerasllm_ops import text_library

# In the order in which the library counts them.
OFFSET_UNITS = (None, "bytes", "code_points")
TRUNCATIONS = ("longest_first", "only_first", "only_second")

_SURROGATES = re.compile("[\ud800-\udfff]")
_ERROR_BYTES = 1000


@dataclass(frozen=True)
class WordpieceOptions:
    """How texts are cut; the same for every engine.

    Attributes:
        lowercase: Lower case for all letters.
        strip_accents: Canonical decomposition, without the nonspacing marks.
        split_cjk: Every Chinese character a word of its own.
        special_tokens_in_text: Special tokens are found in texts.
        max_characters_per_word: Longer words are unknown.
        special_tokens: The unknown, class, separator and padding token, then the others.
    """

    lowercase: bool = True
    strip_accents: bool = True
    split_cjk: bool = True
    special_tokens_in_text: bool = True
    max_characters_per_word: int = 100
    special_tokens: tuple = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")


class WordpieceEngine:
    """A vocabulary, ready to cut texts. It does not change, so threads may share it.

    Args:
        tokens: A list of str; a token's place is its id.
        options: `WordpieceOptions`.

    Raises:
        RuntimeError: If the library is not there.
        ValueError: If the library refuses the vocabulary.
    """

    def __init__(self, tokens, options):
        self._library = _library()
        self._handle = None
        vocabulary = "\n".join(tokens).encode("utf-8")
        special, sizes = _join(options.special_tokens)
        self._handle = self._checked(
            self._library.kerasllm_wordpiece_new,
            vocabulary,
            len(vocabulary),
            options.lowercase,
            options.strip_accents,
            options.split_cjk,
            options.special_tokens_in_text,
            options.max_characters_per_word,
            special,
            _pointer(sizes),
            len(sizes),
        )

    def __del__(self):
        if getattr(self, "_handle", None):
            self._library.kerasllm_wordpiece_delete(self._handle)

    def tokenize(self, texts, offsets=None, num_threads=None):
        """The tokens of texts.

        Args:
            texts: A list of str.
            offsets: None, `"bytes"` or `"code_points"`.
            num_threads: How many threads work; None for one a processor.

        Returns:
            `(token_ids, row_splits, starts, ends)`: int32 `(tokens,)`, int64 `(texts + 1,)`, and
            int64 `(tokens,)` or None each.
        """
        import numpy as np

        content, sizes = _concatenate(texts)
        batch = self._checked(
            self._library.kerasllm_wordpiece_tokenize,
            self._handle,
            content,
            _pointer(sizes),
            len(sizes),
            OFFSET_UNITS.index(offsets),
            num_threads or _num_processors(),
        )
        try:
            count = self._library.kerasllm_wordpiece_num_tokens(batch)
            token_ids = np.empty(count, np.int32)
            row_splits = np.empty(len(sizes) + 1, np.int64)
            starts, ends = (np.empty(count, np.int64) if offsets else None for _ in range(2))
            arrays = (token_ids, row_splits, starts, ends)
            self._library.kerasllm_wordpiece_copy_tokens(batch, *map(_pointer, arrays))
        finally:
            self._library.kerasllm_wordpiece_tokens_delete(batch)
        return arrays

    def encode(
        self,
        texts,
        pairs=None,
        max_length=None,
        truncation="longest_first",
        pad_to_max_length=False,
        num_threads=None,
    ):
        """The padded input of a BERT; see `kerasllm.text.WordPieceTokenizer.encode`.

        Returns:
            `(token_ids, segment_ids, padding_mask)`: int32, int32 and bool `(texts, length)`.

        Raises:
            ValueError: If texts cannot be truncated as asked.
        """
        import numpy as np

        content, sizes = _concatenate(texts)
        pair_content, pair_sizes = (None, None) if pairs is None else _concatenate(pairs)
        threads = num_threads or _num_processors()
        batch = self._checked(
            self._library.kerasllm_wordpiece_encode,
            self._handle,
            content,
            _pointer(sizes),
            pair_content,
            _pointer(pair_sizes),
            len(sizes),
            max_length or 0,
            TRUNCATIONS.index(truncation),
            pad_to_max_length,
            threads,
        )
        try:
            shape = (len(sizes), self._library.kerasllm_wordpiece_length(batch))
            arrays = tuple(np.empty(shape, dtype) for dtype in (np.int32, np.int32, np.bool_))
            pointers = map(_pointer, arrays)
            self._library.kerasllm_wordpiece_copy_encoded(batch, *pointers, threads)
        finally:
            self._library.kerasllm_wordpiece_encoded_delete(batch)
        return arrays

    def _checked(self, function, *arguments):
        """Calls a function that gives an object, or null and a sentence."""
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        result = function(*arguments, error, _ERROR_BYTES)
        if not result:
            raise ValueError(error.value.decode("utf-8", "replace"))
        return result


def problem():
    """Why there is no engine here, in one sentence, or None if there is one."""
    return text_library.load()[1]


@functools.cache
def _library():
    library, problem = text_library.load()
    if library is None:
        raise RuntimeError(f"The tokeniser needs the native library: {problem}.")
    integer, number, pointer, text = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p
    end = [text, number]  # the error
    signatures = {
        "new": (
            pointer,
            [text, number, *[integer] * 4, ctypes.c_int32, text, pointer, number, *end],
        ),
        "delete": (None, [pointer]),
        "tokenize": (pointer, [pointer, text, pointer, number, integer, integer, *end]),
        "num_tokens": (number, [pointer]),
        "copy_tokens": (None, [pointer] * 5),
        "tokens_delete": (None, [pointer]),
        "encode": (
            pointer,
            [pointer, *[text, pointer] * 2, number, number, *[integer] * 3, *end],
        ),
        "length": (number, [pointer]),
        "copy_encoded": (None, [*[pointer] * 4, integer]),
        "encoded_delete": (None, [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"kerasllm_wordpiece_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def _num_processors():
    return len(os.sched_getaffinity(0))


def _concatenate(texts):
    """Texts as UTF-8 in one bytes object, and the size of each: int64 `(texts,)`."""
    import numpy as np

    # One call for all is several times faster than one for each. U+0000 parts the texts.
    joined = "\0".join([*texts, ""])
    try:
        content = joined.encode("utf-8")
    except UnicodeEncodeError:
        content = _SURROGATES.sub("\ufffd", joined).encode("utf-8")
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == 0)
    if len(ends) == len(texts):
        # The U+0000 behind each text goes along: it is dropped, and ends no offset.
        return content, np.diff(ends, prepend=-1)
    return _join(texts)  # some of which hold it themselves


def _join(texts):
    """What `_concatenate` gives, text by text, with nothing behind them."""
    import numpy as np

    encoded = [_SURROGATES.sub("\ufffd", text).encode("utf-8") for text in texts]
    return b"".join(encoded), np.fromiter(map(len, encoded), np.int64, len(encoded))


def _pointer(array):
    return None if array is None else array.ctypes.data
