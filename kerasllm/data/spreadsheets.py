"""XLSX spreadsheets, row by row."""

import datetime
import zipfile

from kerasllm.data.columns import EMPTY_LINE, Columns
from kerasllm.data.encodings import open_bytes


def read_spreadsheet(path, sheet, text, label, header, report):
    """Reads a sheet of an XLSX file.

    Texts are left as they are ("007", "=1+1"); what the spreadsheet holds as a number or a date is
    written out (`1`, `0.1`, `2024-05-01`), formulas by their last computed value.

    Args:
        path: The file.
        sheet: Name or position of the sheet; `None` for the first.
        text: Name or position of the column with the texts.
        label: The same for the labels, or `None`.
        header: Whether the first row names the columns.
        report: The `TableReport`, which is told the sheet if there are several.

    Yields:
        Tuples `(row number, text, label, problem)`.

    Raises:
        ValueError: If it is no XLSX file, or the sheet or the columns are missing.
        ImportError: If openpyxl is not installed.
    """
    with open_bytes(path) as stream:
        workbook = _open_workbook(path, stream)
        try:
            worksheet = _find_sheet(path, workbook, sheet)
            if len(workbook.sheetnames) > 1:
                names = ", ".join(map(repr, workbook.sheetnames))
                report.notes.append(f"sheet {worksheet.title!r} was read, out of {names}")
            # Some writers state a size that is too small, and reading would stop there.
            worksheet.reset_dimensions()
            columns = None if header else Columns(text, label, max(text, label or 0) + 1)
            for number, values in enumerate(worksheet.iter_rows(values_only=True), 1):
                cells = [_write_out(value) for value in values]
                while cells and not cells[-1]:
                    cells.pop()
                if columns is None:
                    if cells:
                        columns = Columns.from_header(path, cells, text, label, "XLSX")
                elif not cells:
                    yield number, None, None, EMPTY_LINE
                elif header:
                    # Empty cells at the end of a row are not stored.
                    cells += [""] * (columns.width - len(cells))
                    yield number, *columns.pick(cells)
                else:
                    cells += [""] * (columns.width - len(cells))
                    yield number, *columns.pick(cells[: columns.width])
        finally:
            workbook.close()


def _open_workbook(path, stream):
    try:
        import openpyxl
    except ImportError as error:
        raise ImportError(
            f"{path} is an XLSX spreadsheet, which openpyxl reads: pip install openpyxl, or save "
            "it as CSV in UTF-8."
        ) from error
    try:
        return openpyxl.load_workbook(stream, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is a ZIP archive, but no XLSX spreadsheet that can be read: {error}"
        ) from error


def _find_sheet(path, workbook, sheet):
    names = workbook.sheetnames
    if isinstance(sheet, int) and sheet < len(names):
        return workbook.worksheets[sheet]
    if sheet is None or sheet in names:
        return workbook[sheet or names[0]]
    raise ValueError(
        f"{path} has no sheet {sheet!r}; its sheets are: {', '.join(map(repr, names))}."
    )


def _write_out(value):
    """A cell's value as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return str(value).removesuffix(" 00:00:00")
    return str(value)
