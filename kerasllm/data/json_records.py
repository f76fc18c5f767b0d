"""JSON Lines, JSON arrays of objects, and objects one after another with nothing in between."""

import json
import re

from kerasllm.data.encodings import open_text

# Numbers stay as they are written: "label": 1.0 is the text "1.0".
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_BETWEEN_RECORDS = re.compile(r"[\s,\[\]]*")


def read_json(path, encoding, text, label):
    """Reads the objects of a JSON file, whatever stands between them.

    After a syntax error reading goes on at the next line.

    Args:
        path: The file, gzip or not.
        encoding: A `FileEncoding`.
        text: The key of the text.
        label: The key of the label, or `None`.

    Yields:
        Tuples `(line, text, label, problem)`.

    Raises:
        ValueError: If no object has the keys.
    """
    with open_text(path, encoding) as file:
        content = file.read()
    sought = {text} if label is None else {text, label}
    missing, found, objects = set(sought), set(), 0
    line, position = 1, 0
    while True:
        start = _BETWEEN_RECORDS.match(content, position).end()
        line += content.count("\n", position, start)
        if start == len(content):
            break
        try:
            record, position = _DECODER.raw_decode(content, start)
        except json.JSONDecodeError as error:
            newline = content.find("\n", start)
            position = len(content) if newline == -1 else newline
            yield line, None, None, f"not valid JSON ({error.msg} at character {error.colno})"
        else:
            if isinstance(record, dict):
                objects += 1
                missing -= record.keys()
                found |= record.keys() if missing else set()
            yield line, *_pick(record, text, label)
        line += content.count("\n", start, position)
    if objects and missing:
        raise ValueError(
            f"{path} should have the keys {_names(sought)}, but its keys are: {_names(found)}. "
            "Give text= and label=, in a recipe --text-column and --label-column."
        )


def _pick(record, text, label):
    """Takes text and label out of one record: `(text, label, problem)`."""
    if not isinstance(record, dict):
        return None, None, "not a JSON object"
    cells = []
    for key in (text, label):
        value = None if key is None else record.get(key)
        if isinstance(value, list | dict):
            return None, None, f"{key!r} is a {type(value).__name__}, not a string"
        cells.append(str(value).lower() if isinstance(value, bool) else value)
    return *cells, None


def _names(names):
    return ", ".join(map(repr, sorted(names)))
