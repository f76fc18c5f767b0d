"""Writes tables.cc: what the cleaning of texts asks of Unicode and HTML.

Everything is taken from what kerasllm/text does with Python's own tables, code point by code point,
so that the ops do the same. Python 3.11 has Unicode 14; what later versions add is unknown to the
ops. Run it in the project's environment after a change to the patterns of kerasllm/text:

    python3.11 tf_kernels/text_cleaning/make_tables.py
"""

import html
import pathlib
import re
import sys
import unicodedata
from html.entities import html5

from kerasllm.text import cleaning, markup

UNIDATA_VERSION = "14.0.0"
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)
# The jamo that follow another in a syllable, which is composed by arithmetic.
FOLLOWING_JAMO = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}


def ranges(codes):
    """{9, 10, 13} -> [(9, 10), (13, 13)]."""
    result = []
    for code in sorted(codes):
        if result and result[-1][1] == code - 1:
            result[-1] = (result[-1][0], code)
        else:
            result.append((code, code))
    return result


def matching(pattern):
    find = re.compile(pattern).match
    return {code for code in CODES if find(chr(code))}


def compositions():
    """(first, second) -> what NFC makes of the two, without the Hangul syllables."""
    result = {}
    for code in CODES:
        mapping = unicodedata.decomposition(chr(code))
        if mapping and not mapping.startswith("<") and " " in mapping:
            first, second = (int(part, 16) for part in mapping.split())
            if unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(code):
                result[first, second] = code
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


def filled(items):
    """The items in lines of at most 100 characters."""
    lines = ["   "]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > 100:
            lines.append("   ")
        lines[-1] += f" {item},"
    return "\n".join(lines)


def array(kind, name, items):
    items = list(items)
    return (
        f"const {kind} {name}Items[] = {{\n{filled(items)}\n}};\n"
        f"extern const Table<{kind}> {name} = {{{name}Items, {len(items)}}};\n"
    )


def main():
    if unicodedata.unidata_version != UNIDATA_VERSION:
        sys.exit(f"The tables are those of Unicode {UNIDATA_VERSION}: run Python 3.11.")
    combining = {code: unicodedata.combining(chr(code)) for code in CODES}
    composed = compositions()
    seconds = {second for _, second in composed} | FOLLOWING_JAMO
    changed = {code for code in CODES if unicodedata.normalize("NFKD", chr(code)) != chr(code)}
    flags = {
        "Word": matching(r"\w"),
        "Digit": matching(r"\d"),
        "Blank": matching(r"\s"),
        "Emoji": matching(f"[{cleaning.EMOJI}]"),
        "Invisible": matching(f"[{cleaning._ALWAYS_INVISIBLE}]"),
        "Unstable": changed | seconds | {code for code, number in combining.items() if number},
    }
    classes = []
    for number in sorted(set(combining.values()) - {0}):
        classes += [
            f"{{{first:#x}, {last:#x}, {number}}}"
            for first, last in ranges(code for code in CODES if combining[code] == number)
        ]
    classes.sort(key=lambda item: int(item[1:].split(",")[0], 16))
    parts, decompositions = [], []
    for code in sorted(changed - set(HANGUL)):
        some = [f"{ord(part):#x}" for part in unicodedata.normalize("NFKD", chr(code))]
        decompositions.append(f"{{{code:#x}, {len(parts)}, {len(some)}}}")
        parts += some
    entities = []
    for name, text in sorted(html5.items()):
        if name.endswith(";"):
            first, second = ord(text[0]), ord(text[1]) if len(text) > 1 else 0
            entities.append(f'{{"{name[:-1]}", {first:#x}, {second:#x}}}')
    blocks, inlines = markup._BLOCK_ELEMENTS, markup._INLINE_ELEMENTS
    elements = [f'{{"{n}", {str(n in blocks).lower()}}}' for n in sorted(blocks | inlines)]
    body = [
        "// Made by make_tables.py; do not edit.",
        '#include "text_cleaning/tables.h"\n',
        "// clang-format off",
        "namespace kerasllm::text_cleaning {\n",
        *(
            array("Range", f"k{name}Ranges", (f"{{{a:#x}, {b:#x}}}" for a, b in ranges(codes)))
            for name, codes in flags.items()
        ),
        array("ClassRange", "kCombiningClasses", classes),
        array("Decomposition", "kDecompositions", decompositions),
        array("char32_t", "kDecompositionParts", parts),
        array(
            "Composition",
            "kCompositions",
            (f"{{{a:#x}, {b:#x}, {code:#x}}}" for (a, b), code in sorted(composed.items())),
        ),
        array("Entity", "kEntities", entities),
        array(
            "Reference",
            "kInvalidReferences",
            (f"{{{number:#x}, {code:#x}}}" for number, code in invalid_references().items()),
        ),
        array("Element", "kElements", elements),
        "}  // namespace kerasllm::text_cleaning\n",
    ]
    path = pathlib.Path(__file__).with_name("tables.cc")
    path.write_text("\n".join(body), encoding="ascii")


if __name__ == "__main__":
    main()
