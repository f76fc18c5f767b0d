"""Texts with a colour behind each token: red for positive scores, blue for negative ones."""

import html

import numpy as np

# Hues that stay apart for the colour-blind; the strongest score has them in full.
POSITIVE, NEGATIVE = np.array([214, 69, 65]), np.array([52, 120, 198])
WHITE = np.array([255, 255, 255])


def colours(scores):
    """The background of each token and whether its text is dark: `(rgb, is_dark)`.

    Colours are relative to the largest score, of either sign.
    """
    scores = np.nan_to_num(np.asarray(scores, "float64"))
    strength = np.abs(scores) / max(np.abs(scores).max(initial=0), 1e-30)
    hues = np.where((scores >= 0)[:, None], POSITIVE, NEGATIVE)
    backgrounds = np.rint(WHITE + strength[:, None] * (hues - WHITE)).astype(int)
    luminance = backgrounds @ np.array([0.299, 0.587, 0.114])
    return [tuple(map(int, rgb)) for rgb in backgrounds], [bool(light > 140) for light in luminance]


def to_html(tokens, scores, title=""):
    """A fragment of HTML; each token's score is shown where the mouse rests.

    Args:
        tokens: A list of str.
        scores: A number for each.
        title: Written before the text.

    Returns:
        str, one `<p>` element that needs nothing else.

    Raises:
        ValueError: If there are not as many scores as tokens.
    """
    _check(tokens, scores)
    backgrounds, dark = colours(scores)
    spans = [
        f'<span style="background:rgb{rgb};color:{"#000" if is_dark else "#fff"}" '
        f'title="{score:+.4g}">{html.escape(token)}</span>'
        for token, score, rgb, is_dark in zip(tokens, scores, backgrounds, dark, strict=True)
    ]
    heading = f"<b>{html.escape(title)}</b> " if title else ""
    return f'<p lang="zh" style="line-height:1.9">{heading}{"".join(_join(tokens, spans))}</p>'


def to_terminal(tokens, scores, title=""):
    """The text with ANSI escapes for 24-bit colours; arguments as in `to_html`."""
    _check(tokens, scores)
    backgrounds, dark = colours(scores)
    painted = []
    for token, (r, g, b), is_dark in zip(tokens, backgrounds, dark, strict=True):
        ink = "0;0;0" if is_dark else "255;255;255"
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in token)
        painted.append(f"\x1b[48;2;{r};{g};{b}m\x1b[38;2;{ink}m{shown}\x1b[0m")
    return (f"{title} " if title else "") + "".join(_join(tokens, painted))


def _join(tokens, pieces):
    """The pieces, with a blank where two words of Latin letters or digits meet."""
    for index, piece in enumerate(pieces):
        if index and all(_is_latin(c) for c in (tokens[index - 1][-1:], tokens[index][:1])):
            yield " "
        yield piece


def _is_latin(character):
    return character.isascii() and character.isalnum()


def _check(tokens, scores):
    if len(tokens) != len(scores):
        raise ValueError(f"There are {len(tokens)} tokens, but {len(scores)} scores.")
