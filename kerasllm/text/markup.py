"""HTML to plain text, for texts that may or may not hold HTML."""

import html
import re
from html.entities import html5

# Elements that begin a new line or cell on the screen: their tags become a blank.
_BLOCK_ELEMENTS = frozenset(
    "address article aside blockquote body br caption center dd details dialog dir div dl dt"
    " fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html"
    " legend li main menu nav ol optgroup option p pre section select summary table tbody td"
    " textarea tfoot th thead title tr ul".split()
)
# Elements inside a line: their tags vanish. Only names of HTML are listed, so that List<String>
# and #include <vector> survive.
_INLINE_ELEMENTS = frozenset(
    "a abbr acronym applet area audio b base basefont bdi bdo big button canvas cite code col"
    " colgroup data datalist del dfn em embed font frame i iframe img input ins kbd label link map"
    " mark marquee meta meter nobr noscript object output param picture progress q rp rt ruby s"
    " samp script slot small source span strike strong style sub sup svg template time track tt u"
    " var video wbr".split()
)

# A tag has no blank after "<", and either nothing after its name or attributes with a "=": this
# keeps "3<5", "a<b 并且 c>d" and e-mail addresses in angle brackets. No part runs across another
# "<", so the search is linear.
_TAG = re.compile(
    r"""</?([A-Za-z][A-Za-z0-9]*)(?:\s*/?|\s(?=[^<>]*=)(?:[^<>"']|"[^"<]*"|'[^'<]*')*+)>"""
    r"""|<(?ai:!doctype|\?xml)\s[^<>]*>"""
)
# Without "a", "i" would take the long s for an s and the Kelvin sign for a k.
_HIDDEN_OPENING = re.compile(r"<!--|<((?ai:script|style))(?=[\s/>])[^<>]*>")
_HIDDEN_CLOSING = {
    "<!--": re.compile("-->"),
    "script": re.compile(r"</(?ai:script)\s*>"),
    "style": re.compile(r"</(?ai:style)\s*>"),
}
# The semicolon is asked for, because "?id=1&param=2" holds no "¶" (&para). Only &nbsp is so often
# written without one that it is taken either way.
_ENTITY = re.compile(
    r"&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});|&nbsp(?![a-z0-9=;])",
    re.IGNORECASE | re.ASCII,
)


def remove_html(text):
    """Removes tags and decodes entities.

    Comments and the contents of `<script>` and `<style>` vanish, tags of blocks (`<br>`, `<p>`,
    `<td>`, ...) become a blank, other tags vanish. Then entities are decoded, twice, for texts
    that were escaped twice. Markup that was itself escaped (`&lt;b&gt;`) is text that its author
    wanted to be seen, and stays. Only names of HTML count as tags.

    Examples:

    >>> remove_html("很好<br/>推荐<b>购买</b>&amp;nbsp;&hearts;")
    '很好 推荐购买\\xa0♥'
    >>> remove_html("3<5 并且 7>6，vector<int>")
    '3<5 并且 7>6，vector<int>'

    Args:
        text: A str.

    Returns:
        The text without markup.
    """
    if "<" in text:
        text = _TAG.sub(_replace_tag, _drop_hidden(text))
    for _ in range(2):
        if "&" in text:
            text = _ENTITY.sub(_decode_entity, text)
    return text


def _drop_hidden(text):
    """Cuts out comments, scripts and styles. One that is never closed is left alone."""
    kept = []
    position = 0
    unclosed = set()  # kinds without any further closing: not searched twice, to stay linear
    opening = _HIDDEN_OPENING.search(text)
    while opening:
        kind = (opening[1] or opening[0]).lower()
        after = opening.end()
        closing = None if kind in unclosed else _HIDDEN_CLOSING[kind].search(text, after)
        if closing:
            kept.append(text[position : opening.start()])
            after = position = closing.end()
        else:
            unclosed.add(kind)
        opening = _HIDDEN_OPENING.search(text, after)
    kept.append(text[position:])
    return "".join(kept)


def _replace_tag(match):
    name = (match[1] or "html").lower()
    if name in _BLOCK_ELEMENTS:
        return " "
    return "" if name in _INLINE_ELEMENTS else match[0]


def _decode_entity(match):
    entity = match[0]
    if entity[1] == "#":
        return html.unescape(entity)
    if not entity.endswith(";"):
        return "\xa0"
    return html5.get(entity[1:], entity)
