"""Tokens that are single characters."""

import re

from kerasllm.text.cleaning import EMOJI
from kerasllm.text.tokenizer import Tokenizer

# One flag, or one character with what belongs to it: combining accents, variation selectors, skin
# tones, the keycap, and what a zero-width joiner ties to it.
_CHARACTER = (
    "[\U0001f1e6-\U0001f1ff]{2}"
    r"|.(?:[\u0300-\u036f\ufe00-\ufe0f\u20e3\U0001f3fb-\U0001f3ff]" + f"|\u200d[{EMOJI}])*"
)
_LATIN = "[0-9A-Za-zÀ-ÖØ-öø-ɏ\u0300-\u036f]"
# A dot inside a number and an apostrophe inside a word are part of it.
_WORD = rf"{_LATIN}(?:{_LATIN}|(?<=[0-9])\.(?=[0-9])|(?<=[A-Za-z])['’](?=[A-Za-z]))*"

_CHARACTERS = re.compile(_CHARACTER, re.DOTALL)
# A keycap begins with a digit, but is no number.
_WORDS_AND_CHARACTERS = re.compile(f"[0-9]\ufe0f?\u20e3|{_WORD}|{_CHARACTER}", re.DOTALL)


class CharTokenizer(Tokenizer):
    """Cuts a text into characters as a reader counts them.

    Emoji sequences (families, skin tones, flags, keycaps) and letters with combining accents are
    one token each.

    Examples:

    >>> CharTokenizer().segment(["买iPhone 15了👍🏽"])
    [['买', 'i', 'P', 'h', 'o', 'n', 'e', '1', '5', '了', '👍🏽']]
    >>> CharTokenizer(keep_words=True).segment(["买iPhone 15了👍🏽"])
    [['买', 'iPhone', '15', '了', '👍🏽']]

    Args:
        keep_words: Whether Latin words and numbers are one token each.
        keep_blanks: Whether blanks are tokens.
    """

    def __init__(self, *, keep_words=False, keep_blanks=False):
        super().__init__(keep_blanks)
        if not isinstance(keep_words, bool):
            raise ValueError(f"keep_words={keep_words!r} should be True or False.")
        self.keep_words = keep_words

    def detokenize(self, words) -> str:
        """Joins tokens to a text; see `Tokenizer.detokenize`.

        Without `keep_words` no blank is put anywhere, since every letter is a token.
        """
        return super().detokenize(words) if self.keep_words else "".join(words)

    def get_config(self):
        return {"keep_words": self.keep_words, **super().get_config()}

    def _splitter(self):
        find = (_WORDS_AND_CHARACTERS if self.keep_words else _CHARACTERS).findall
        if self.keep_blanks:
            return find
        return lambda text: [token for token in find(text) if not token.isspace()]
