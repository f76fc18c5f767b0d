"""Which columns of a table hold the text and the label, and taking them out of a record."""

import dataclasses

from kerasllm.data.duplicates import BLANKS

EMPTY_LINE = "empty line"


def trim(cell):
    """A cell without blanks at its ends, zero-width and ideographic ones included."""
    return cell.strip(BLANKS)


@dataclasses.dataclass(frozen=True)
class Columns:
    """The places of the text and the label in records of `width` cells.

    Attributes:
        text: Position of the text, counted from 0.
        label: Position of the label, or `None`.
        width: Number of cells a record must have.
    """

    text: int
    label: int | None
    width: int

    @classmethod
    def from_header(cls, path, header, text, label, layout):
        """Finds the columns by name or position in a table with a header.

        Args:
            path: The file, for messages.
            header: The names of the columns.
            text: Name or position of the column with the texts.
            label: The same for the labels, or `None`.
            layout: How the file was read, for messages, e.g. `"delimiter ','"`.

        Returns:
            A `Columns`.

        Raises:
            ValueError: If a column is missing, or is there twice, or text and label are one.
        """
        header = [trim(name) for name in header]
        while header and not header[-1]:
            header.pop()
        positions = [None if column is None else _find(header, column) for column in (text, label)]
        if -1 in positions:
            sought = " and ".join(repr(column) for column in (text, label) if column is not None)
            found = ", ".join(map(repr, header)) or "none"
            raise ValueError(
                f"{path} should have the columns {sought}, but its columns are: {found} ({layout})."
                " Give text= and label=, in a recipe --text-column and --label-column."
            )
        if positions[0] == positions[1]:
            raise ValueError(
                f"{path}: text and label are the same column, {text!r}. Give text= and label=, in a"
                " recipe --text-column and --label-column."
            )
        for column in (text, label):
            if header.count(column) > 1:
                raise ValueError(
                    f"{path} has {header.count(column)} columns named {column!r}: give the position"
                    " with header=True."
                )
        return cls(*positions, len(header))

    def pick(self, cells):
        """Takes text and label out of one record: `(text, label, problem)`."""
        # Exporters pad rows with empty cells, so those beyond the width do no harm.
        if len(cells) != self.width and (len(cells) < self.width or any(cells[self.width :])):
            noun = "column" if len(cells) == 1 else "columns"
            return None, None, f"{len(cells)} {noun} instead of {self.width}"
        return cells[self.text], None if self.label is None else cells[self.label], None


def _find(header, column):
    """The position of a column given by name or position, -1 if it is missing."""
    if isinstance(column, int):
        return column if column < len(header) else -1
    return header.index(column) if column in header else -1
