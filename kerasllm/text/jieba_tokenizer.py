"""Chinese word segmentation by jieba."""

import contextlib
import functools
import itertools
import logging
import os
import pathlib
import re
import warnings

from kerasllm_ops import jieba_engine

from kerasllm.text.tokenizer import Tokenizer, check_texts

MODES = ("cut", "all", "search")

# jieba takes quadratic time in the length of an unbroken run of characters that its dictionary
# does not join: 33 seconds for 120,000. Longer runs than this are cut here first, by our own engine
# too, which would not need it: a saved pipeline does the same with and without the native library.
LONGEST_RUN = 5_000

# A line of a jieba user dictionary: word, frequency, tag.
_DICTIONARY_LINE = re.compile(r"(.+?)( [0-9]+)?( [a-z]+)?")


class JiebaTokenizer(Tokenizer):
    """Cuts texts into words with jieba.

    The words are those of `jieba.lcut`, `jieba.lcut(cut_all=True)` or `jieba.lcut_for_search`,
    less the blank ones. A run of more than 5,000 letters, digits and Chinese characters without
    any blank or mark, which is no language, is cut every 5,000 characters before jieba sees it.

    Where the native library is there (`kerasllm_ops.jieba_engine.problem()` says why not), the
    work is done in C++, with the same words and many times as fast; else by jieba itself.

    Without a user dictionary all tokenizers of a process share one engine, loaded at the first
    use; with one they have their own. In C++ each takes 0.2 seconds and 25 MB; in jieba the first
    0.6 seconds and 65 MB, further ones 20 ms and 15 MB. None is `jieba.dt`, so that a word which
    other code gives to `jieba.add_word` does not change what a saved pipeline does. One thing is
    global in jieba itself: a user word of frequency 0 (never to be a word) is, without the native
    library, also split where the hidden Markov model of any other tokenizer proposes it.

    Examples:

    >>> JiebaTokenizer().segment(["我来到北京清华大学", "你好 世界"])
    [['我', '来到', '北京', '清华大学'], ['你好', '世界']]
    >>> JiebaTokenizer(user_dictionary=["来到北京"]).segment(["我来到北京清华大学"])
    [['我', '来到北京', '清华大学']]

    Args:
        mode: `"cut"`: every character in one word. `"all"`: all words of the dictionary that the
            text holds, overlapping, never with `hmm`. `"search"`: as `"cut"`, and before a long
            word the short words inside it.
        hmm: Whether a hidden Markov model finds words that the dictionary lacks.
        user_dictionary: Words to add: the path of a jieba user dictionary (UTF-8, on each line a
            word and, optionally, its frequency and tag), or a list of words, `(word, frequency)`
            and `(word, frequency, tag)`, where `None` stands for what is not given. The words
            are read here once and are part of the configuration, so the file need not be kept.
        keep_blanks: Whether tokens that are blank are kept. They are jieba's own then to the
            last, in mode `"all"` with empty strings among them.

    Raises:
        ValueError: If an argument is none of these.
        FileNotFoundError: If there is no file at the path.
    """

    def __init__(self, mode="cut", hmm=True, user_dictionary=None, keep_blanks=False):
        super().__init__(keep_blanks)
        if mode not in MODES:
            raise ValueError(f"mode={mode!r} of JiebaTokenizer should be one of {MODES}.")
        if not isinstance(hmm, bool):
            raise ValueError(f"hmm={hmm!r} of JiebaTokenizer should be True or False.")
        self.mode = mode
        self.hmm = hmm
        if user_dictionary is None:
            self.user_dictionary = ()
        elif isinstance(user_dictionary, str | os.PathLike):
            self.user_dictionary = _read_dictionary(user_dictionary)
        else:
            self.user_dictionary = tuple(
                _check_entry(position, entry) for position, entry in enumerate(user_dictionary)
            )
        self._engine = None  # a jieba.Tokenizer
        self._native_engine = None

    def segment(self, texts):
        texts = check_texts(texts)
        words = [(word, frequency) for word, frequency, _ in self.user_dictionary]
        if jieba_engine.problem() is not None or not jieba_engine.takes(words):
            return super().segment(texts)
        if self._native_engine is None:
            own = jieba_engine.JiebaEngine
            self._native_engine = own(words) if words else jieba_engine.shared_engine()
        return self._native_engine.cut(texts, self.mode, self.hmm, self.keep_blanks, LONGEST_RUN)

    def get_config(self):
        return {
            "mode": self.mode,
            "hmm": self.hmm,
            "user_dictionary": [list(entry) for entry in self.user_dictionary] or None,
            **super().get_config(),
        }

    def __getstate__(self):
        # jieba holds a lock and the other engine memory of C++: neither can be copied or sent to
        # another process.
        return {**self.__dict__, "_engine": None, "_native_engine": None}

    def _splitter(self):
        if self._engine is None:
            own = self.user_dictionary
            self._engine = _engine_with(own) if own else _shared_engine()
        if self.mode == "search":
            cut = functools.partial(self._engine.cut_for_search, HMM=self.hmm)
        else:
            cut = functools.partial(self._engine.cut, cut_all=self.mode == "all", HMM=self.hmm)
        keep_blanks = self.keep_blanks

        def split(text):
            if len(text) <= LONGEST_RUN:
                words = cut(text)
            else:
                words = itertools.chain.from_iterable(map(cut, _break_long_runs(text)))
            if keep_blanks:
                return list(words)
            return [word for word in words if word and not word.isspace()]

        return split


def _break_long_runs(text):
    """The pieces of a text that hold no run of more than `LONGEST_RUN` characters."""
    from jieba import re_han_default  # what jieba handles as one run

    places = [
        place
        for run in re_han_default.finditer(text)
        for place in range(run.start() + LONGEST_RUN, run.end(), LONGEST_RUN)
    ]
    return [text[start:end] for start, end in itertools.pairwise([0, *places, len(text)])]


@functools.cache
def _shared_engine():
    """The process's `jieba.Tokenizer` with the dictionary that comes with jieba."""
    with warnings.catch_warnings():
        # pkg_resources is deprecated, and newer Pythons dislike jieba's escapes in strings.
        warnings.simplefilter("ignore")
        import jieba
    engine = jieba.Tokenizer()
    with _quiet(logging.getLogger("jieba")):
        engine.initialize()
    return engine


def _engine_with(words):
    """A new `jieba.Tokenizer` that has been given the words."""
    shared = _shared_engine()
    engine = type(shared)()
    # What initialize() would read from disk again, ten times slower.
    engine.FREQ, engine.total, engine.initialized = shared.FREQ.copy(), shared.total, True
    for word, frequency, tag in words:
        engine.add_word(word, frequency, tag)
    return engine


@contextlib.contextmanager
def _quiet(logger):
    """Keeps a logger from telling its progress (jieba's goes to stderr)."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _read_dictionary(path):
    """The entries of a jieba user dictionary, read as jieba's `load_userdict` does."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"user_dictionary: there is no file {str(path)!r}. (Words themselves are given as a"
            " list, also a single one.)"
        )
    entries = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            line = line.strip().decode("utf-8").lstrip("\ufeff")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: a user dictionary should be UTF-8, but this line is not"
                f" ({error.reason}). Save it as UTF-8."
            ) from error
        if line:
            word, frequency, tag = _DICTIONARY_LINE.fullmatch(line).groups()
            entries.append((word, frequency and int(frequency), tag and tag.strip()))
    return tuple(entries)


def _check_entry(position, entry):
    """An entry of a list as `(word, frequency, tag)`."""
    fields = tuple(entry) if isinstance(entry, list | tuple) else (entry,)
    if 1 <= len(fields) <= 3:
        word, frequency, tag = fields + (None,) * (3 - len(fields))
        if (
            isinstance(word, str)
            and word
            and (frequency is None or (type(frequency) is int and frequency >= 0))
            and (tag is None or isinstance(tag, str))
        ):
            return word, frequency, tag
    raise ValueError(
        f"user_dictionary[{position}] should be a word, (word, frequency) or (word, frequency,"
        f" tag) with a whole number as the frequency, but is {entry!r}."
    )
