"""Long texts in pieces, so that what is made of them does not all lie in memory at once."""

import re

# The last line end before a letter or digit. Characters as `CharTokenizer` counts them end before
# it and behind it: nothing that belongs to the character before, such as a combining accent, is a
# letter or digit. The words of byte-level BPE end before it: GPT-2's pattern takes the last blank
# of a run by itself where it is no space, the blanks before it as a word, and these are a word at
# the end of a text too. The patterns of Llama 3 and Qwen join line ends to each other and to
# punctuation before them; their words end behind it.
_BORDER = re.compile(r"\n(?=\w)")
_CHARACTERS = 1 << 16
_LOOKED_AT = 32
_TRIES = 8


def text_pieces(text, encode=None, characters=_CHARACTERS):
    """The pieces of a text, which have the same tokens as the whole text.

    Args:
        text: A str.
        encode: A function from a list of texts to lists of ids. A text is cut only where what
            stands around the cut gives the same ids in two parts; so a tokenizer of another kind,
            that marks the beginning of a text for instance, gets it whole. By default that is not
            asked, which is right for characters and for GPT-2's byte-level BPE.
        characters: Pieces have so many, and those to the next line end that fits. 65,536 by
            default. A text without such line ends stays whole.

    Yields:
        Str, in their order.
    """
    begin = 0
    while len(text) - begin > characters:
        cut = _find_cut(text, encode, begin + characters)
        if cut is None:
            break
        yield text[begin:cut]
        begin = cut
    yield text[begin:]


def _find_cut(text, encode, place):
    for _ in range(_TRIES):
        border = _BORDER.search(text, place)
        if border is None:
            return None
        place = border.end()
        if encode is None:
            return border.start()
        for cut in border.span():
            before, after = text[max(0, cut - _LOOKED_AT) : cut], text[cut : cut + _LOOKED_AT]
            together, left, right = encode([before + after, before, after])
            if list(together) == [*left, *right]:
                return cut
    return None
