"""CSV and TSV: finding the delimiter and the columns, and reading the records.

The csv module is used rather than pandas, because it tells on which physical line a record begins
and leaves it to the caller what to do about a bad one.
"""

import collections
import csv
import itertools

from kerasllm.data.columns import EMPTY_LINE, Columns, trim
from kerasllm.data.encodings import open_text

DELIMITERS = ",\t;|"
_SAMPLE_LINES = 50


def read_delimited(path, encoding, delimiter, text, label, header, report):
    """Reads a CSV or TSV file.

    In tab-separated files quotes are often plain characters. Where they do not pair up as CSV
    quotes must, all of them are taken as part of the texts.

    Args:
        path: The file, gzip or not.
        encoding: A `FileEncoding`.
        delimiter: One character, or `None` to find it among the comma, tab, semicolon and bar.
        text: The name or the position of the column with the texts.
        label: The same for the labels, or `None`.
        header: Whether the first line names the columns.
        report: The `TableReport`, which is told the delimiter and how quotes were read.

    Yields:
        Tuples `(line, text, label, problem)`.

    Raises:
        ValueError: If the columns are not found, or with more than one delimiter.
    """
    # Process-wide, but harmless; setting it back would race with other threads.
    csv.field_size_limit(2**31 - 1)
    with open_text(path, encoding, newline="") as file:
        sample = list(itertools.islice(file, _SAMPLE_LINES))
    if header:
        delimiter, columns = _find_by_names(path, sample, delimiter, text, label)
    else:
        delimiter, columns = _find_by_positions(path, sample, delimiter, text, label)
    quoted = delimiter != "\t" or _quotes_pair_up(path, encoding)
    report.format = "TSV" if delimiter == "\t" else "CSV"
    report.delimiter = delimiter
    if not quoted:
        report.notes.append("quotes do not pair up as CSV quotes: they were kept as plain text")
    with open_text(path, encoding, newline="") as file:
        records = _records(file, delimiter, quoted, encoding.cut_line)
        if header:
            next(record for record in records if record[1])
        for line, cells, problem in records:
            if problem is None:
                yield line, *columns.pick(cells)
            else:
                yield line, None, None, problem


def _records(file, delimiter, quoted, cut_line=None):
    """Yields `(first line, cells, problem)` for every record of an open file."""
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    # Without strict, a quote that is never closed swallows the rest of the file in silence.
    reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines = f"line {line}" if reader.line_num == line else f"lines {line}-{reader.line_num}"
            yield line, [], f"broken quoting on {lines} ({error})"
        else:
            problem = None if cells else EMPTY_LINE
            if reader.line_num == cut_line:
                problem = "the file ends here, in the middle of a character"
            yield line, cells, problem


def _quotes_pair_up(path, encoding):
    """Whether the quotes of a tab-separated file can be CSV quotes.

    They cannot if one is not closed, if text follows a closing one, or if a quoted field runs over
    several lines with tabs in it: those are rows that a stray quote would swallow.
    """
    with open_text(path, encoding, newline="") as file:
        return not any(
            problem not in (None, EMPTY_LINE)
            or any("\t" in cell and ("\n" in cell or "\r" in cell) for cell in cells)
            for _, cells, problem in _records(file, "\t", quoted=True)
        )


def _find_by_names(path, sample, delimiter, text, label):
    """The delimiter with which the header has all columns sought, and the columns."""
    headers = {}
    for candidate in delimiter or DELIMITERS:
        records = _records(iter(sample), candidate, quoted=True)
        header = next((cells for _, cells, _ in records if cells), [])
        headers[candidate] = [trim(name) for name in header]
    complete = {
        candidate: header
        for candidate, header in headers.items()
        if text in header and (label is None or label in header)
    }
    candidates = complete or headers
    best = max(candidates, key=lambda candidate: len(candidates[candidate]))
    # A lone column reads the same with any delimiter.
    if len(candidates[best]) == 1 and _usual_delimiter(path) in candidates:
        best = _usual_delimiter(path)
    return best, Columns.from_header(path, candidates[best], text, label, f"delimiter {best!r}")


def _find_by_positions(path, sample, delimiter, text, label):
    """The delimiter with which the first records have one and the same number of columns."""
    sought = max(text, -1 if label is None else label)
    consistent, usable = {}, {}
    for candidate in delimiter or DELIMITERS:
        widths = collections.Counter(
            len(cells) for _, cells, _ in _records(iter(sample), candidate, quoted=True) if cells
        )
        if not widths:
            continue
        width = widths.most_common(1)[0][0]
        if width > sought:
            usable[candidate] = width
            if len(widths) == 1:
                consistent[candidate] = width
    for widths in (consistent, usable):
        choice = next(iter(widths), None) if len(widths) == 1 else _usual_delimiter(path)
        if choice in widths:
            return choice, Columns(text, label, widths[choice])
    if not usable:
        raise ValueError(
            f"{path} has no column {sought}, counted from 0, with any delimiter out of "
            f"{list(delimiter or DELIMITERS)}."
        )
    raise ValueError(
        f"{path} can be read with more than one delimiter ({list(usable)}): give delimiter=."
    )


def _usual_delimiter(path):
    """The delimiter that a file's name promises, or `None`."""
    name = str(path).lower().removesuffix(".gz")
    if name.endswith(".csv"):
        return ","
    return "\t" if name.endswith((".tsv", ".tab")) else None
