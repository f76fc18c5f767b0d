"""What reading a table found: the report that `read_table` returns beside the rows."""

import dataclasses
import re
import unicodedata

import pandas as pd

from kerasllm.data.duplicates import group_same_texts

_SHOWN = 10
_TEXT_SHOWN = 30


@dataclasses.dataclass
class TableReport:
    """What was read from a table, and what is odd about it. `print(report)` shows it.

    A place is a line number (in a spreadsheet: the row) or, for a folder of documents, the path of
    the document within it.

    Attributes:
        path: The file or folder.
        format: `"CSV"`, `"TSV"`, `"JSON"`, `"XLSX"` or `"documents"`.
        rows_read: Number of records found, the dropped ones included.
        rows_kept: Number of records that are in the rows.
        dropped: A list of `(place, reason)`, in the order of the file.
        classes: A dict of label to number of rows. The order is that of the numbers if all labels
            are whole numbers, else that of the code points. `None` if no label was asked for.
        exact_duplicates: Number of rows whose text is that of an earlier row.
        normalised_duplicates: The same after `comparison_key`: width, case, blanks and punctuation
            are disregarded. Includes the exact ones.
        conflicting: Same texts (after `comparison_key`) with different labels: a list of
            `(text, [(place, label), ...])`.
        encoding: The encoding's name; `None` for XLSX.
        delimiter: The delimiter of CSV and TSV, else `None`.
        notes: Sentences about how the file was read.
        warnings: Sentences about what should be looked at before training.
    """

    path: str
    format: str
    rows_read: int = 0
    rows_kept: int = 0
    dropped: list = dataclasses.field(default_factory=list)
    classes: dict | None = None
    exact_duplicates: int = 0
    normalised_duplicates: int = 0
    conflicting: list = dataclasses.field(default_factory=list)
    encoding: str | None = None
    delimiter: str | None = None
    notes: list = dataclasses.field(default_factory=list)
    warnings: list = dataclasses.field(default_factory=list)

    def check_trainable(self):
        """Raises a `ValueError` if no classifier can be trained on these rows."""
        if self.classes is None:
            raise ValueError(f"{self.path} was read without labels: give label=.")
        if len(self.classes) < 2:
            raise ValueError(
                f"{self.path} has only one class ({next(iter(self.classes))!r}): a classifier "
                "needs rows of two or more."
            )

    def __str__(self):
        layout = [self.format]
        if self.encoding:
            layout.append(self.encoding)
        if self.delimiter:
            layout.append(f"delimiter {self.delimiter!r}")
        table = [
            f"{self.path}: {self.rows_read:,} rows read, {self.rows_kept:,} kept, "
            f"{len(self.dropped):,} dropped",
            *_section("format", [", ".join(layout)]),
        ]
        if self.classes is not None:
            counts = [
                f"{label}: {count:,} ({count / self.rows_kept:.1%})"
                for label, count in self.classes.items()
            ]
            table += _section("classes", counts, len(counts))
        table += _section(
            "duplicates",
            [f"{self.exact_duplicates:,} exact, {self.normalised_duplicates:,} normalised"],
        )
        conflicts = [
            f"{_shorten(text)!r}: "
            + ", ".join(f"{label} ({name_place(place)})" for place, label in labelled[:_SHOWN])
            for text, labelled in self.conflicting[:_SHOWN]
        ]
        dropped = [f"{name_place(place)}: {reason}" for place, reason in self.dropped[:_SHOWN]]
        table += _section("conflicts", conflicts, len(self.conflicting))
        table += _section("dropped", dropped, len(self.dropped))
        table += _section("notes", self.notes, len(self.notes))
        table += _section("warnings", self.warnings, len(self.warnings))
        return "\n".join(table)


def describe_rows(report, rows):
    """Fills in what a report says about the rows that were kept.

    Args:
        report: A `TableReport`.
        rows: The DataFrame that `read_table` returns.
    """
    places = rows["source" if "source" in rows else "line"]
    groups = pd.Series(group_same_texts(rows["text"]), rows.index)
    report.rows_kept = len(rows)
    report.exact_duplicates = int(rows["text"].duplicated().sum())
    report.normalised_duplicates = int(groups.duplicated().sum())
    if "label" not in rows:
        return
    counts = rows["label"].value_counts()
    whole = all(re.fullmatch("-?[0-9]+", label) for label in counts.index)
    order = sorted(counts.index, key=lambda label: (int(label) if whole else 0, label))
    report.classes = {label: int(counts[label]) for label in order}
    labels_per_group = rows["label"].groupby(groups).nunique()
    conflicting = groups[groups.isin(labels_per_group.index[labels_per_group > 1])]
    for _, index in conflicting.groupby(conflicting).groups.items():
        labelled = list(zip(places[index].tolist(), rows["label"][index], strict=True))
        report.conflicting.append((rows["text"][index[0]], labelled))
    report.warnings += _class_warnings(report)


def _class_warnings(report):
    """What is odd about the classes."""
    warnings = []
    if len(report.classes) == 1:
        warnings.append("there is only one class: nothing can be learnt from it")
    alike = {}
    for label in report.classes:
        key = re.sub(r"\.0+$", "", unicodedata.normalize("NFKC", label).casefold())
        alike.setdefault(key, []).append(label)
    for labels in alike.values():
        if len(labels) > 1:
            names = ", ".join(map(repr, labels))
            warnings.append(f"these labels may mean the same, but are different classes: {names}")
    if report.rows_kept >= 20 and len(report.classes) > report.rows_kept / 2:
        warnings.append("most rows have a class of their own: are text and label swapped?")
    if report.conflicting:
        number = len(report.conflicting)
        noun = "text has" if number == 1 else "texts have"
        warnings.append(f"{number:,} {noun} two or more labels")
    return warnings


def _section(name, lines, total=1):
    """The lines of one section, the first 10 of them, with its name at the left."""
    lines = list(lines[:_SHOWN])
    if total > len(lines):
        lines.append(f"... and {total - len(lines):,} more")
    names = [name, *[""] * len(lines)]
    return [f"  {name:<11} {line}" for name, line in zip(names, lines, strict=False)]


def name_place(place):
    """How a message names a place: `"line 5"`, or the path of a document."""
    return place if isinstance(place, str) else f"line {place}"


def _shorten(text):
    return text if len(text) <= _TEXT_SHOWN else text[: _TEXT_SHOWN - 1] + "…"
