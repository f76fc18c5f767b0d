"""What BERT's tokenisation asks of Unicode: wordpiece/tables.cc and wordpiece_unicode.py.

The tables say what `tokenizers` 0.23.3 does with each code point. It takes categories and
decompositions from crates that are pinned to old versions of Unicode, and lower case from Rust's
standard library, which is at Unicode 17. So the data of Unicode 14 serve, less what is younger than
those crates and plus what is younger than Unicode 14. tests/text/test_wordpiece_tokenizer.py holds
every code point against `tokenizers`.
"""

import unicodedata

from make_tables.writer import CODES, array, cpp_file, filled, range_items, ranges

# What `tokenizers` has otherwise than Unicode 14: code points, ranges with both ends, in hex.
NOT_CONTROL = "890-891 8e2 110cd 13430-13438"
NOT_PUNCTUATION = """
61d 9fd a76 c77 c84 1b7d-1b7e 2e43-2e4f 2e52-2e5d 10ead 10f55-10f59 10f86-10f89 1144b-1144f
1145a-1145b 1145d 11660-1166c 116b9 1183b 11944-11946 119e2 11a3f-11a46 11a9a-11a9c 11a9e-11aa2
11c41-11c45 11c70-11c71 11ef7-11ef8 11fff 12ff1-12ff2 16e97-16e9a 16fe2 1e95e-1e95f
"""
MORE_PUNCTUATION = "166d 111c9"
NOT_NONSPACING = """
7fd 898-89f 8ca-8e1 9fe afa-aff b55 c04 c3c d00 d3b-d3c d81 eba 180f 1885-1886 1abf-1ace 1df6-1dfb
a82c a8c5 a8ff a9bd 10d24-10d27 10eab-10eac 10f46-10f50 10f82-10f85 11070 11073-11074 110c2 111c9
111cf 1123e 1133b 11438-1143f 11442-11444 11446 1145e 1182f-11837 11839-1183a 1193b-1193c 1193e
11943 119d4-119d7 119da-119db 119e0 11a01-11a0a 11a33-11a38 11a3b-11a3e 11a47 11a51-11a56
11a59-11a5b 11a8a-11a96 11a98-11a99 11c30-11c36 11c38-11c3d 11c3f 11c92-11ca7 11caa-11cb0
11cb2-11cb3 11cb5-11cb6 11d31-11d36 11d3a 11d3c-11d3d 11d3f-11d45 11d47 11d90-11d91 11d95 11d97
11ef3-11ef4 16f4f 16fe4 1cf00-1cf2d 1cf30-1cf46 1e000-1e006 1e008-1e018 1e01b-1e021 1e023-1e024
1e026-1e02a 1e130-1e136 1e2ae 1e2ec-1e2ef 1e944-1e94a
"""
MORE_NONSPACING = "1734"
NOT_NONSTARTER = """
7fd 898-89f 8ca-8d3 9fe c3c d3b-d3c eba 1715 1abf-1ace 1df6-1dfa a82c 10d24-10d27 10eab-10eac
10f46-10f50 10f82-10f85 11070 1133b 1145e 11839-1183a 1193d-1193e 11943 119e0 11a34 11a47 11a99
11d42 11d44-11d45 11d97 16ff0-16ff1 1e130-1e136 1e2ae 1e2ec-1e2ef
"""
NOT_DECOMPOSED = "11938"
MORE_LOWERCASE = {
    0x1C89: 0x1C8A,
    0xA7CB: 0x264,
    0xA7CC: 0xA7CD,
    0xA7CE: 0xA7CF,
    0xA7D2: 0xA7D3,
    0xA7D4: 0xA7D5,
    0xA7DA: 0xA7DB,
    0xA7DC: 0x19B,
    **{code: code + 32 for code in range(0x10D50, 0x10D66)},
    **{code: code + 27 for code in range(0x16EA0, 0x16EB9)},
}
# Whitespace of Rust, which BertNormalizer makes blanks of; other controls are dropped before.
SPACES = "9-a d 20 a0 1680 2000-200a 2028-2029 202f 205f 3000"
# The only one that becomes two characters, an i and a dot above: both engines know it.
TWO_LOWERCASE = 0x130


def codes(text):
    """`"9-a d"` -> {9, 10, 13}."""
    found = set()
    for part in text.split():
        first, _, last = part.partition("-")
        found.update(range(int(first, 16), int(last or first, 16) + 1))
    return found


def with_categories(*categories):
    return {code for code in CODES if unicodedata.category(chr(code)).startswith(categories)}


def tables():
    """name -> set of code points."""
    ascii_marks = codes("21-2f 3a-40 5b-60 7b-7e")
    spaces = codes(SPACES)
    nonstarters = {code for code in CODES if unicodedata.combining(chr(code))}
    return {
        "removed": (with_categories("Cc", "Cf", "Co") | {0xFFFD}) - codes(NOT_CONTROL) - spaces,
        "spaces": spaces,
        "punctuation": (with_categories("P") | ascii_marks | codes(MORE_PUNCTUATION))
        - codes(NOT_PUNCTUATION),
        "nonspacing": (with_categories("Mn") | codes(MORE_NONSPACING)) - codes(NOT_NONSPACING),
        "nonstarters": nonstarters - codes(NOT_NONSTARTER),
        "decomposed": {
            code for code in CODES if unicodedata.normalize("NFD", chr(code)) != chr(code)
        }
        - codes(NOT_DECOMPOSED),
    }


def lowercase_runs():
    """`(first, last, step, difference)`: each `step`-th code point has its lower case so far on."""
    lower = {code: ord(chr(code).lower()) for code in CODES if code != TWO_LOWERCASE}
    lower = {code: other for code, other in lower.items() if code != other} | MORE_LOWERCASE
    runs = []
    for code, other in sorted(lower.items()):
        if runs:
            first, last, step, difference = runs[-1]
            gap = code - last
            if difference == other - code and gap == (step or gap) and gap <= 2:
                runs[-1] = (first, code, gap, difference)
                continue
        runs.append((code, code, 0, other - code))
    return [(first, last, step or 1, difference) for first, last, step, difference in runs]


def cpp(found):
    """The text of tables.cc."""
    arrays = [
        *(
            array("Range", f"k{name.capitalize()}", range_items(found[name]))
            for name in ("removed", "spaces", "punctuation", "nonspacing")
        ),
        array("Range", "kStarters", range_items(codes(NOT_NONSTARTER))),
        array(
            "char32_t", "kUndecomposed", [f"{code:#x}" for code in sorted(codes(NOT_DECOMPOSED))]
        ),
        array(
            "LowercaseRun",
            "kLowercase",
            [f"{{{a:#x}, {b:#x}, {step}, {by}}}" for a, b, step, by in lowercase_runs()],
        ),
    ]
    return cpp_file("wordpiece/tables.h", "kerasllm::wordpiece", arrays)


def python(found):
    """The text of wordpiece_unicode.py."""
    lines = [
        '"""What BERT asks of Unicode; made by tf_kernels/make_tables, do not edit.',
        "",
        "Code points in hex, ranges with both ends. `LOWERCASE`: what Python may not know yet.",
        '"""\n',
    ]
    for name, some in found.items():
        parts = [f"{a:x}-{b:x}" if a != b else f"{a:x}" for a, b in ranges(some)]
        lines.append(f'{name.upper()} = """\n{filled(parts, indent="")}\n"""')
    lines.append("LOWERCASE = {")
    lines += [f"    0x{code:X}: 0x{other:X}," for code, other in sorted(MORE_LOWERCASE.items())]
    return "\n".join([*lines, "}", ""])
