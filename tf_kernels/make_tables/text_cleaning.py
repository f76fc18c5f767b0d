"""What the cleaning of texts asks of Unicode and HTML: text_cleaning/tables.cc.

Everything is taken from what kerasllm/text does with Python's own tables, code point by code point,
so that the ops do the same. What later versions of Unicode add is unknown to the ops.
"""

import html
import re
import unicodedata
from html.entities import html5

from kerasllm.text import cleaning, markup
from make_tables.unicode import decompositions
from make_tables.writer import CODES, array, cpp_file, range_items

# The jamo that follow another in a syllable, which is composed by arithmetic.
FOLLOWING_JAMO = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}


def matching(pattern):
    find = re.compile(pattern).match
    return {code for code in CODES if find(chr(code))}


def is_changed_or_moved(character):
    """Whether NFKD changes a character, or orders it among others."""
    changed = unicodedata.normalize("NFKD", character) != character
    return changed or unicodedata.combining(character) != 0


def compositions():
    """(first, second) -> what NFC makes of the two, without the Hangul syllables."""
    result = {}
    for code, (is_compatibility, parts) in decompositions().items():
        if not is_compatibility and len(parts) == 2:
            if unicodedata.normalize("NFC", "".join(map(chr, parts))) == chr(code):
                result[tuple(parts)] = code
    return result


def invalid_references():
    """number -> the code point that `html.unescape` gives for it, 0 for none."""
    result = {}
    for number in range(0x110000):
        found = html.unescape(f"&#{number};")
        if found != chr(number):
            result[number] = ord(found) if found else 0
    surrogates = range(0xD800, 0xE000)
    assert all(result.pop(number) == 0xFFFD for number in surrogates)
    return result


def cpp():
    """The text of tables.cc."""
    composed = compositions()
    seconds = {second for _, second in composed} | FOLLOWING_JAMO
    flags = {
        "Word": matching(r"\w"),
        "Digit": matching(r"\d"),
        "Blank": matching(r"\s"),
        "Emoji": matching(f"[{cleaning.EMOJI}]"),
        "Invisible": matching(f"[{cleaning._ALWAYS_INVISIBLE}]"),
        "Unstable": seconds | {code for code in CODES if is_changed_or_moved(chr(code))},
    }
    entities = []
    for name, text in sorted(html5.items()):
        if name.endswith(";"):
            first, second = ord(text[0]), ord(text[1]) if len(text) > 1 else 0
            entities.append(f'{{"{name[:-1]}", {first:#x}, {second:#x}}}')
    blocks, inlines = markup._BLOCK_ELEMENTS, markup._INLINE_ELEMENTS
    elements = [f'{{"{n}", {str(n in blocks).lower()}}}' for n in sorted(blocks | inlines)]
    arrays = [
        *(array("Range", f"k{name}Ranges", range_items(codes)) for name, codes in flags.items()),
        array(
            "Composition",
            "kCompositions",
            [f"{{{a:#x}, {b:#x}, {code:#x}}}" for (a, b), code in sorted(composed.items())],
        ),
        array("Entity", "kEntities", entities),
        array(
            "Reference",
            "kInvalidReferences",
            [f"{{{number:#x}, {code:#x}}}" for number, code in invalid_references().items()],
        ),
        array("Element", "kElements", elements),
    ]
    return cpp_file("text_cleaning/tables.h", "kerasllm::text_cleaning", arrays)
