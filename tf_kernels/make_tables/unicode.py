"""Combining classes and decompositions, which both families of normalisation need."""

import unicodedata

from make_tables.writer import CODES, array, cpp_file, ranges


def decompositions():
    """code -> (whether it is one of compatibility, the code points that it is decomposed into).

    As the Unicode Character Database has them, one step each, without the Hangul syllables.
    """
    result = {}
    for code in CODES:
        *kind, parts = unicodedata.decomposition(chr(code)).rpartition("> ")
        if parts:
            result[code] = bool(kind[0]), [int(part, 16) for part in parts.split()]
    return result


def cpp():
    """The text of unicode_tables.cc."""
    classes = {}
    for code in CODES:
        classes.setdefault(unicodedata.combining(chr(code)), set()).add(code)
    del classes[0]
    class_ranges = sorted(
        (first, last, number) for number, codes in classes.items() for first, last in ranges(codes)
    )
    parts, items = [], []
    for code, (is_compatibility, own_parts) in decompositions().items():
        flag = str(is_compatibility).lower()
        items.append(f"{{{code:#x}, {len(parts)}, {len(own_parts)}, {flag}}}")
        parts += [f"{part:#x}" for part in own_parts]
    arrays = [
        array(
            "ClassRange",
            "kCombiningClasses",
            [f"{{{first:#x}, {last:#x}, {number}}}" for first, last, number in class_ranges],
        ),
        array("Decomposition", "kDecompositions", items),
        array("char32_t", "kDecompositionParts", parts),
    ]
    return cpp_file("common/unicode.h", "kerasllm::unicode", arrays)
