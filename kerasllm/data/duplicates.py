"""Telling texts that are the same but for width, case, blanks and punctuation."""

import unicodedata

import numpy as np
import pandas as pd

# What counts as blank at the ends of a label, and as nothing if it is all that a text holds: white
# space, control characters, format characters (zero-width ones, soft hyphens, direction marks), and
# the blank glyphs of braille and hangul.
BLANKS = "\u2800\u3164" + "".join(
    character
    for character in map(chr, range(0x10000))
    if unicodedata.category(character) in {"Zs", "Zl", "Zp", "Cc", "Cf"}
)


class _Deletions(dict):
    """A table for `str.translate` that deletes whole Unicode categories, filled as it is used."""

    def __init__(self, categories):
        self.categories = categories

    def __missing__(self, codepoint):
        deleted = unicodedata.category(chr(codepoint)).startswith(self.categories)
        self[codepoint] = None if deleted else codepoint
        return self[codepoint]


_BLANKS_ONLY = _Deletions(("Z", "Cc", "Cf"))
_BLANKS_AND_PUNCTUATION = _Deletions(("Z", "Cc", "Cf", "P"))


def comparison_key(text):
    """What is left of a text when width, case, blanks and punctuation are taken away.

    Two texts with the same key are taken as the same text: NFKC, case folding, then without blanks
    and punctuation. A text of punctuation only keeps it.

    Examples:
        >>> comparison_key("ＯＫ， 很好！")
        'ok很好'
        >>> comparison_key("？！")
        '?!'

    Args:
        text: A string.

    Returns:
        A string, empty only if the text is blank.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    return text.translate(_BLANKS_AND_PUNCTUATION) or text.translate(_BLANKS_ONLY)


def group_same_texts(texts):
    """Numbers the groups of texts with the same `comparison_key`, in order of appearance.

    Args:
        texts: An iterable of strings.

    Returns:
        An int array, one number per text.
    """
    # 64-bit hashes stand for the keys, which for a large file would take as much memory as the
    # texts. They differ from run to run, but only whether two are equal is used.
    keys = np.fromiter((hash(comparison_key(text)) for text in texts), np.int64)
    return pd.factorize(keys)[0]
