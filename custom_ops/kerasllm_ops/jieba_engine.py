"""jieba's segmentation in C++, without TensorFlow: libkerasllm_text.so by ctypes."""

import array
import ctypes
import functools
import importlib.metadata
import importlib.util
import itertools
import pathlib
import sys
import weakref

from kerasllm_ops import text_library

# The order in which the library counts them.
MODES = ("cut", "all", "search")
# The versions of jieba whose algorithm the library has.
JIEBA_VERSIONS = ("0.42.1",)

_LOWEST_SCORE = -3.14e100  # jieba's, for what its tables lack
_STATES = "BEMS"
_FIRST_CHARACTER = 0x4E00
_LARGEST_FREQUENCY = 2**62
# Few enough that tokens are still in the cache when they become lists.
_CHARACTERS_PER_CALL = 1 << 16


@functools.cache
def problem():
    """Why there is no engine here, in one sentence, or `None` if there is one."""
    try:
        version = importlib.metadata.version("jieba")
    except importlib.metadata.PackageNotFoundError:
        return "jieba, whose dictionary it reads, is not installed"
    if version not in JIEBA_VERSIONS:
        return f"jieba is {version}, but the native library does what {JIEBA_VERSIONS[-1]} does"
    return text_library.load()[1]


def takes(words):
    """Whether an engine can have these user words: jieba's frequencies have no bound."""
    return sum(frequency or 0 for _, frequency in words) < _LARGEST_FREQUENCY


class JiebaEngine:
    """jieba's dictionary, ready to cut.

    Does to the last token what a `jieba.Tokenizer` does that was given the same words by
    `add_word`, and reads the dictionary and the tables of the jieba that is installed, without
    importing it. Making one takes 0.2 seconds and 25 MB (52 while it is made). It is not changed
    afterwards, so threads may share it; they run at the same time, as Python's lock is released.

    Args:
        words: The user's words, an iterable of `(word, frequency)`. A frequency of `None` is the
            one that jieba's `suggest_freq` gives; with 0 the word is never one.

    Raises:
        RuntimeError: If the native library is not there.
        ValueError: If jieba's dictionary is broken, or the frequencies are too large.
    """

    def __init__(self, words=()):
        if problem() is not None:
            raise RuntimeError(f"kerasllm_ops.jieba_engine needs the native library: {problem()}.")
        words = list(words)
        if not takes(words):
            raise ValueError(f"The words' frequencies should sum to less than {_LARGEST_FREQUENCY}")
        folder = pathlib.Path(importlib.util.find_spec("jieba").submodule_search_locations[0])
        lines = (folder / "dict.txt").read_bytes()
        start, transition, emission = _hmm_tables(folder)
        texts = [word for word, _ in words]
        frequencies = array.array("q", [-1 if f is None else f for _, f in words])
        self._handle = _call(
            "new",
            lines,
            len(lines),
            _address(start),
            _address(transition),
            _address(emission),
            _utf32("".join(texts)),
            _address(_lengths(texts)),
            _address(frequencies),
            len(words),
        )
        # Not at the end of the process, when threads may still be using it.
        weakref.finalize(self, _library().kerasllm_jieba_delete, self._handle).atexit = False

    def __reduce__(self):
        raise TypeError("A JiebaEngine cannot be pickled or copied; make it again from its words.")

    @property
    def total(self):
        """The sum of all frequencies, jieba's `total`."""
        return _library().kerasllm_jieba_total(self._handle)

    def frequency(self, word):
        """The frequency of a word, 0 for one that is none; jieba's `FREQ.get(word, 0)`."""
        return _library().kerasllm_jieba_frequency(self._handle, _utf32(word), len(word))

    def cut(self, texts, mode="cut", hmm=True, keep_blanks=False, longest_run=0):
        """Cuts texts into words.

        Args:
            texts: A list of str.
            mode: `"cut"`, `"all"` or `"search"`: `jieba.cut`, `jieba.cut(cut_all=True)` or
                `jieba.cut_for_search`.
            hmm: Whether a hidden Markov model finds words that the dictionary lacks.
            keep_blanks: Whether blank and empty tokens are kept.
            longest_run: Where runs of letters, digits and Chinese characters are cut before
                anything else, as texts of their own; 0 for nowhere.

        Returns:
            A list of the words of each text, lists of str.
        """
        options = MODES.index(mode), bool(hmm), bool(keep_blanks), longest_run
        result = []
        for some in _parts(texts):
            result += self._cut(some, options)
        return result

    def serialize(self):
        """The content of the file from which the ops read this dictionary; bytes."""
        content = _call("serialize", self._handle)
        try:
            size = ctypes.c_int64()
            data = _library().kerasllm_jieba_content(content, ctypes.byref(size))
            return ctypes.string_at(data, size.value)
        finally:
            _library().kerasllm_jieba_content_delete(content)

    def _cut(self, texts, options):
        joined = "".join(texts)
        separator = _character_not_in(joined)
        tokens = _call(
            "cut",
            self._handle,
            _utf32(joined),
            _address(_lengths(texts)),
            len(texts),
            *options,
            ord(separator),
        )
        try:
            size = ctypes.c_int64()
            data = _library().kerasllm_jieba_tokens(tokens, ctypes.byref(size))
            if size.value == 0:
                return [[] for _ in texts]
            buffer = (ctypes.c_char * (4 * size.value)).from_address(data)
            words = str(memoryview(buffer), "utf-32-le", "surrogatepass").split(separator)
            counts = _library().kerasllm_jieba_counts(tokens)[: len(texts)]
        finally:
            _library().kerasllm_jieba_tokens_delete(tokens)
        # The first separator has nothing before it.
        ends = itertools.accumulate(counts, initial=1)
        return [words[begin:end] for begin, end in itertools.pairwise(ends)]


@functools.cache
def shared_engine():
    """The process's engine without any user's words."""
    return JiebaEngine()


def _parts(texts):
    """The texts in parts of bounded size."""
    part, size = [], 0
    for text in texts:
        part.append(text)
        size += len(text)
        if size >= _CHARACTERS_PER_CALL:
            yield part
            part, size = [], 0
    if part:
        yield part


def _character_not_in(text):
    if "\x1f" not in text:
        return "\x1f"
    used = set(text)
    for character in map(chr, range(sys.maxunicode + 1)):
        if character not in used:
            return character
    raise ValueError("jieba: texts that together hold every character of Unicode cannot be cut.")


def _utf32(text):
    return text.encode("utf-32-le", "surrogatepass")


def _lengths(texts):
    return array.array("q", map(len, texts))


def _address(values):
    """An array as an argument; it must live until the call is over."""
    return (ctypes.c_char * (len(values) * values.itemsize)).from_buffer(values)


@functools.cache
def _hmm_tables(folder):
    """The tables of `jieba.finalseg`: start `(4,)`, transition `(4, 4)`, emission `(n, 4)`."""
    start, transition, emission = (
        _read_table(folder / "finalseg" / f"prob_{name}.py") for name in ("start", "trans", "emit")
    )
    count = _library().kerasllm_jieba_num_characters()
    characters = [chr(_FIRST_CHARACTER + i) for i in range(count)]
    flat = array.array("d", bytes(8 * len(_STATES) * count))
    for position, state in enumerate(_STATES):
        flat[position :: len(_STATES)] = array.array(
            "d", [emission[state].get(character, _LOWEST_SCORE) for character in characters]
        )
    return (
        array.array("d", [start[state] for state in _STATES]),
        array.array("d", [transition[a].get(b, _LOWEST_SCORE) for a in _STATES for b in _STATES]),
        flat,
    )


def _read_table(path):
    """The table `P` of a module of jieba's, read without importing jieba."""
    spec = importlib.util.spec_from_file_location(f"_kerasllm_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.P


@functools.cache
def _library():
    library, _ = text_library.load()
    pointer, int64, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    text = ctypes.c_char_p
    error = (text, int64)
    signatures = {
        "new": (pointer, text, int64, *[pointer] * 3, text, pointer, pointer, int64, *error),
        "delete": (None, pointer),
        "frequency": (int64, pointer, text, int64),
        "total": (int64, pointer),
        "num_characters": (int64,),
        "serialize": (pointer, pointer, *error),
        "content": (pointer, pointer, pointer),
        "content_delete": (None, pointer),
        "cut": (
            *(pointer, pointer, text, pointer, int64, flag, flag, flag, int64, ctypes.c_uint32),
            *error,
        ),
        "tokens": (pointer, pointer, pointer),
        "counts": (ctypes.POINTER(int64), pointer),
        "tokens_delete": (None, pointer),
    }
    for name, (result, *arguments) in signatures.items():
        function = getattr(library, f"kerasllm_jieba_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def _call(name, *arguments):
    """Calls a function that gives a pointer, or null and a reason."""
    error = ctypes.create_string_buffer(256)
    result = getattr(_library(), f"kerasllm_jieba_{name}")(*arguments, error, len(error))
    if not result:
        raise ValueError(f"jieba: {error.value.decode(errors='replace')}.")
    return result
