"""What the tokenizers share: checked input, joining tokens, configuration."""

import re

# A word of a script that is written with blanks, or a number, ends like this ("C++", "100%").
_LATIN = "0-9A-Za-zÀ-ÖØ-öø-ɏ"
_ENDS_LATIN = re.compile(rf"[{_LATIN}]\Z|\A[{_LATIN}][!-~]*\Z")
_BEGINS_LATIN = re.compile(f"[{_LATIN}]")


class Tokenizer:
    """Base class: a subclass gives `_splitter` and its own `get_config`.

    Args:
        keep_blanks: Whether tokens that are blank are kept.
    """

    def __init__(self, keep_blanks=False):
        if not isinstance(keep_blanks, bool):
            raise ValueError(f"keep_blanks={keep_blanks!r} should be True or False.")
        self.keep_blanks = keep_blanks

    def segment(self, texts) -> list[list[str]]:
        """Cuts texts into tokens.

        Args:
            texts: A list (or any iterable) of str.

        Returns:
            A list of tokens for each text; an empty one for an empty text.

        Raises:
            TypeError: If `texts` is a single str, or holds something else than str.
        """
        texts = check_texts(texts)
        split = self._splitter()
        return [split(text) for text in texts]

    def detokenize(self, words) -> str:
        """Joins tokens to a text.

        With `keep_blanks` this is exactly what was cut. Without it, a blank is put between two
        Latin words or numbers, and none elsewhere.

        Args:
            words: A list of str.

        Returns:
            The text.
        """
        return "".join(words) if self.keep_blanks else join_words(words)

    def get_config(self):
        """The constructor's arguments, as a dict that JSON can hold."""
        return {"keep_blanks": self.keep_blanks}

    @classmethod
    def from_config(cls, config):
        """The tokenizer that `get_config` described."""
        return cls(**config)

    def _splitter(self):
        """A function from a text to the list of its tokens."""
        raise NotImplementedError


def check_texts(texts):
    """The texts as a list, if they are texts.

    Args:
        texts: An iterable of str.

    Returns:
        A list of str.

    Raises:
        TypeError: If `texts` is a single str, or holds something else than str.
    """
    if isinstance(texts, str | bytes):
        raise TypeError(
            f"A list of texts is expected, but got a single {type(texts).__name__}: {texts!r:.60}."
            " Put it into a list: [text]."
        )
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"texts[{position}] should be a str, but is {type(text).__name__}: {text!r:.60}."
                " Drop rows without a text, read tables with every column as text."
            )
    return texts


def join_words(words):
    """Joins words, with a blank between two Latin words or numbers only.

    Examples:

    >>> join_words(["我", "用", "Keras", "3", "和", "C++", "Python"])
    '我用Keras 3和C++ Python'

    Args:
        words: An iterable of str.

    Returns:
        The text.
    """
    pieces = []
    previous = ""
    for word in words:
        if _BEGINS_LATIN.match(word) and _ENDS_LATIN.search(previous):
            pieces.append(" ")
        pieces.append(word)
        previous = word
    return "".join(pieces)
