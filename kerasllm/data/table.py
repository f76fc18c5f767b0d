"""Reading tables of labelled texts as users have them."""

import gzip
import pathlib
import re

import pandas as pd

from kerasllm.data.columns import EMPTY_LINE, trim
from kerasllm.data.delimited import read_delimited
from kerasllm.data.documents import read_documents
from kerasllm.data.encodings import find_encoding, open_bytes, open_text
from kerasllm.data.json_records import read_json
from kerasllm.data.report import TableReport, describe_rows, name_place
from kerasllm.data.spreadsheets import read_spreadsheet

_JSON_NAMES = (".json", ".jsonl", ".ndjson")
_JSON_START = re.compile(r'[\s\[]*\{\s*"')
_NOT_TABLES = {
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls): save it as .xlsx or as CSV in UTF-8",
    b"%PDF": "a PDF document",
    b"PAR1": "a Parquet file: read it with pandas",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "an xz archive: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive: unpack it first",
}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read_table(
    path,
    text="text",
    label="label",
    encoding=None,
    delimiter=None,
    sheet=None,
    cleaner=None,
    on_bad_rows="report",
    header=None,
):
    """Reads labelled texts from a file or folder, and reports what is odd about them.

    The format is found by content and name: CSV, TSV, JSON Lines, a JSON array, JSON objects one
    after another, XLSX, gzip of these, or a folder of documents, `<label>/<document>.txt`. Every
    value is a string as it stands in the file: "007", "NA" and "1.0" are texts. Blanks at both
    ends of labels are cut off, zero-width and ideographic ones too; texts are left alone, but for
    halves of surrogate pairs, which no encoding can write and which become U+FFFD.

    Bad rows are dropped and reported: those with too many or too few columns, an empty text (one of
    blanks and zero-width characters is empty), a missing label, broken quotes or broken JSON.

    Examples:
        >>> rows, report = read_table("reviews.csv", text="review", label="stars")
        >>> print(report)
        >>> report.check_trainable()

    Args:
        path: The file or folder.
        text: Name of the column with the texts, or its position, counted from 0.
        label: The same for the labels; `None` to read texts only.
        encoding: The encoding, if it cannot be told; UTF-8, UTF-16 with a byte order mark and
            GB18030 (so GBK) are found.
        delimiter: The delimiter, one character; `None` to find it among `, ; |` and the tab.
        sheet: XLSX: name or position of the sheet; the first by default.
        cleaner: A function from string to string that is applied to every text. Rows with nothing
            left are dropped and reported.
        on_bad_rows: `"report"` drops and reports them, `"error"` raises at the first one.
        header: Whether the first line names the columns. By default it does if `text` or `label`
            is a name, and does not if both are positions.

    Returns:
        A tuple `(rows, report)`. `rows` is a DataFrame with the columns `text`, `label` (unless
        `label=None`), `line` (int, the physical line where the record begins, from 1; for XLSX
        the row) and, for a folder, `source` (the path of the document in it). `report` is a
        `TableReport`.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the file cannot be read as asked: no rows, columns missing, an encoding or
            delimiter that cannot be told, damaged gzip, another format; or at the first bad row
            if `on_bad_rows="error"`.
        ImportError: If an XLSX file is read without openpyxl.
    """
    if on_bad_rows not in ("report", "error"):
        raise ValueError(f'on_bad_rows should be "report" or "error", not {on_bad_rows!r}.')
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1):
        raise ValueError(f"delimiter should be one character, not {delimiter!r}.")
    header = _check_columns(text, label, header)
    report = TableReport(str(path), "")
    records = _open_records(path, text, label, encoding, delimiter, sheet, header, report)
    rows = _collect(records, label is not None, cleaner, on_bad_rows, report)
    describe_rows(report, rows)
    return rows, report


def _check_columns(text, label, header):
    """Whether there is a header, after checking that the columns can be named as they are."""
    columns = [text] if label is None else [text, label]
    for column in columns:
        position = isinstance(column, int) and not isinstance(column, bool) and column >= 0
        if not isinstance(column, str) and not position:
            raise ValueError(f"a column is a name or a position from 0, not {column!r}.")
    named = any(isinstance(column, str) for column in columns)
    if header is False and named:
        raise ValueError(
            f"without a header columns cannot be named: give positions from 0, not {columns}."
        )
    return named if header is None else header


def _open_records(path, text, label, encoding, delimiter, sheet, header, report):
    """Finds the format and gives the records: `(place, text, label, problem)` for each."""
    path = pathlib.Path(path)
    if path.is_dir():
        report.format = "documents"
        return read_documents(path, label, encoding, report)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    with open_bytes(path) as stream:
        head = stream.read(4096)
        if isinstance(stream, gzip.GzipFile) and path.suffix.lower() != ".gz":
            report.notes.append("the file is gzip under another name: it was unpacked")
    if not head.strip():
        raise ValueError(f"{path} is empty; a table has a line for each text.")
    for magic, name in _NOT_TABLES.items():
        if head.startswith(magic):
            raise ValueError(f"{path} is no table that can be read, but {name}.")
    if head.startswith(b"PK\x03\x04"):
        report.format = "XLSX"
        return read_spreadsheet(path, sheet, text, label, header, report)
    if sheet is not None:
        raise ValueError(f"{path} is no XLSX file: it has no sheet {sheet!r}.")
    found = find_encoding(path, encoding)
    report.encoding = found.name
    if found.cut_line is not None:
        report.warnings.append(
            f"the file ends in the middle of a character on line {found.cut_line}: it seems to be "
            "cut, and the record there was dropped"
        )
    with open_text(path, found) as file:
        start = file.read(4096)
    name = path.name.lower().removesuffix(".gz")
    if _JSON_START.match(start) or name.endswith(_JSON_NAMES):
        report.format = "JSON"
        if not isinstance(text, str) or not isinstance(label, str | None):
            raise ValueError(f"{path} is JSON, which has keys and no positions: name the columns.")
        return read_json(path, found, text, label)
    return read_delimited(path, found, delimiter, text, label, header, report)


def _collect(records, labelled, cleaner, on_bad_rows, report):
    """Puts the good records in a DataFrame and the bad ones in the report."""
    texts, labels, places = [], [], []
    trimmed = {}  # one string object per class, however many rows
    replaced, with_nul = [], []
    empty_lines = []  # empty lines at the end of the file are nothing to report

    def drop(place, reason):
        if on_bad_rows == "error":
            raise ValueError(
                f"{report.path}, {name_place(place)}: {reason}. "
                'on_bad_rows="report" drops such rows.'
            )
        report.dropped.append((place, reason))

    for place, text, label, problem in records:
        if problem == EMPTY_LINE:
            empty_lines.append(place)
            continue
        for empty_line in empty_lines:
            drop(empty_line, EMPTY_LINE)
        empty_lines.clear()
        if problem is None and labelled and label not in trimmed:
            trimmed[label] = trim(label or "")
        if problem is not None:
            drop(place, problem)
        elif not text or not trim(text):
            drop(place, "empty text")
        elif labelled and not trimmed[label]:
            drop(place, "missing label")
        else:
            if _LONE_SURROGATE.search(text):
                text = _LONE_SURROGATE.sub("\ufffd", text)
                replaced.append(place)
            if cleaner is not None:
                text = cleaner(text)
                if not trim(text):
                    drop(place, "nothing left after cleaning")
                    continue
            if "\0" in text:
                with_nul.append(place)
            texts.append(text)
            places.append(place)
            if labelled:
                labels.append(trimmed[label])
    report.rows_read = len(texts) + len(report.dropped)
    if not texts:
        if not report.dropped:
            raise ValueError(f"{report.path} has no rows.")
        place, reason = report.dropped[0]
        raise ValueError(
            f"{report.path} has no rows left: all {report.rows_read:,} were dropped, "
            f"{name_place(place)}: {reason}."
        )
    for found, where in (
        ("halves of surrogate pairs, now U+FFFD,", replaced),
        ("NUL characters", with_nul),
    ):
        if where:
            report.warnings.append(
                f"{found} in {len(where):,} rows, first in {name_place(where[0])}"
            )
    columns = {"text": texts}
    if labelled:
        columns["label"] = labels
    if report.format == "documents":
        columns |= {"line": 1, "source": places}
    else:
        columns["line"] = places
    return pd.DataFrame(columns)
