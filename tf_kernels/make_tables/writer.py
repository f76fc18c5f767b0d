"""Code points, and how tables of them are written in C++."""

CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)


def ranges(codes):
    """{9, 10, 13} -> [(9, 10), (13, 13)]."""
    result = []
    for code in sorted(codes):
        if result and result[-1][1] == code - 1:
            result[-1] = (result[-1][0], code)
        else:
            result.append((code, code))
    return result


def filled(items, indent="    "):
    """The items, a blank between two, in lines of at most 100 characters."""
    lines = [indent]
    for item in items:
        blank = "" if lines[-1] == indent else " "
        if len(lines[-1]) + len(blank) + len(item) > 100:
            lines.append(indent)
            blank = ""
        lines[-1] += blank + item
    return "\n".join(lines)


def array(kind, name, items):
    """The C++ of a `Table<kind>`."""
    items = [f"{item}," for item in items]
    return (
        f"const {kind} {name}Items[] = {{\n{filled(items)}\n}};\n"
        f"extern const Table<{kind}> {name} = {{{name}Items, {len(items)}}};\n"
    )


def range_items(codes):
    """The items of a `Table<Range>`."""
    return [f"{{{first:#x}, {last:#x}}}" for first, last in ranges(codes)]


def cpp_file(header, namespace, arrays):
    """The text of a file of tables."""
    lines = [
        "// Made by make_tables; do not edit.",
        f'#include "{header}"\n',
        "// clang-format off",
        f"namespace {namespace} {{\n",
        *arrays,
        f"}}  // namespace {namespace}\n",
    ]
    return "\n".join(lines)
