"""remove_html against html and html.parser."""

import html
import html.entities
import html.parser
import random

import pytest

from kerasllm.text.markup import remove_html


class Reference(html.parser.HTMLParser):
    """The text of a well-formed document, with a blank for some tags."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.pieces = []
        self.hidden = 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("script", "style")
        self.pieces.append(" " * (tag in ("p", "br", "td", "div")))

    def handle_endtag(self, tag):
        self.hidden -= tag in ("script", "style")
        self.pieces.append(" " * (tag in ("p", "td", "div")))

    def handle_data(self, data):
        if not self.hidden:
            self.pieces.append(data)


def random_document(source, depth=0):
    """A well-formed document of tags with attributes, comments, scripts and entities."""
    kind = source.randrange(8 if depth < 4 else 3)
    if kind == 0:
        return source.choice(["你好", "3 < 5", "7>6", "a &lt; b", "&hearts;&#20320;", " "])
    if kind == 1:
        return source.choice(["<br>", "<br/>", '<img src="a.png" alt="图>1">', "<!-- <p> -- -->"])
    if kind == 2:
        return source.choice(["<script>if (a<b) {x='<p>'}</script>", "<STYLE>p {}</STYLE>"])
    name = source.choice(["p", "b", "span", "DIV", "a", "td"])
    attributes = source.choice(["", ' class="x y"', " data-a='\"'", "\n  href=/a?b=1&c=2", " "])
    inside = "".join(random_document(source, depth + 1) for _ in range(source.randrange(4)))
    return f"<{name}{attributes}>{inside}</{name}>"


def test_well_formed_documents_give_the_text_that_a_parser_gives():
    source = random.Random(0)
    for _ in range(500):
        document = "".join(random_document(source) for _ in range(3))
        reference = Reference()
        reference.feed(document)
        reference.close()
        assert remove_html(document) == "".join(reference.pieces), document


def test_every_named_entity_is_decoded():
    for name, expected in html.entities.html5.items():
        if name.endswith(";") and expected not in "&":
            assert remove_html(f"a&{name}b") == f"a{expected}b"


@pytest.mark.parametrize("code", [0, 1, 9, 65, 128, 0xD800, 0x4F60, 0x1F600, 0x10FFFF, 0x110000])
def test_numeric_entities_are_decoded_as_by_the_standard_library(code):
    for entity in (f"&#{code};", f"&#x{code:x};", f"&#X{code:X};"):
        assert remove_html(entity) == html.unescape(entity)


@pytest.mark.parametrize(
    "text",
    [
        "3<5 并且 7>6",
        "a<b 并且 c>d",
        "a < b > c",
        "List<String> 和 vector<int>",
        "<不推荐>",
        "<3 <3",
        "AT&T R&D &",
        "https://a.example/?id=1&param=2&copy=3",
        "写信给<li.si@mail.example>",
        "未完<a href=",
        "<>",
        "&不是;",
        "&unknownentity;",
    ],
)
def test_what_is_no_markup_stays(text):
    assert remove_html(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("好<br>的<P>吧", "好 的 吧"),
        ("<b>粗</b>体", "粗体"),
        ("甲<!-- 注释\n<b> -->乙", "甲乙"),
        ("甲<script type='x'>var a = '<b>';</script >乙", "甲乙"),
        ("甲<!-- 没有完", "甲<!-- 没有完"),
        ("怎么用<script>标签", "怎么用标签"),
        ("<!-- <script> -->正文<script>1</script>", "正文"),
        ("<!DOCTYPE html><html>文</html>", "  文 "),
        ('<a title="1>0" href=x>链</a>', "链"),
        ("&amp;nbsp;&amp;lt;", "\xa0<"),
        ("&nbsp质量&nbsp", "\xa0质量\xa0"),
        ("&lt;b&gt;", "<b>"),
    ],
)
def test_markup_becomes_text(text, expected):
    assert remove_html(text) == expected


@pytest.mark.parametrize("text", ["<ſcript>a</ſcript>", "<ſtyle x>", "<\u212abd>", "&ſect;"])
def test_letters_outside_ascii_are_no_markup(text):
    # Ignoring case, "ſ" is an s: <ſcript> was found, and raised a KeyError.
    assert remove_html(text) == text
