"""The training, validation and test rows of a run, from the tables that its user names."""

from kerasllm.data.split import stratified_split
from kerasllm.data.table import read_table


def read_parts(
    paths,
    text_column="text",
    label_column="label",
    encoding=None,
    seed=0,
    with_test=True,
    train_rows=None,
):
    """Reads labelled tables, splits off what is missing, and prints what was found.

    Examples:

    >>> parts = read_parts({"train": "reviews.csv"}, label_column="stars")
    >>> sorted(parts)
    ['test', 'train', 'valid']

    Args:
        paths: dict of "train" and, where there are such tables, "valid" and "test" to a path; None
            stands for no table.
        text_column: The column's name, or its position from 0, as a str or an int.
        label_column: The same.
        encoding: Of all tables; recognised by default.
        seed: Of the split.
        with_test: Whether, where neither validation nor test rows are given, test rows are split
            off too.
        train_rows: About how many training rows to keep, by a stratified draw that depends on the
            number alone, so that runs of other seeds learn from the same rows; all by default.

    Returns:
        dict of "train", "valid" and, where there are any, "test" to a DataFrame with the columns
        `text` and `label`.

    Raises:
        ValueError: If nothing can be learned from the training rows, or another part has labels
            that no training row has.
        OSError: If a table cannot be read.
    """
    columns = [
        int(name) if isinstance(name, str) and name.isdecimal() else name
        for name in (text_column, label_column)
    ]
    parts = {}
    for part, path in paths.items():
        if path is None:
            continue
        parts[part], report = read_table(path, *columns, encoding=encoding)
        print(f"{report}\n")
        if part == "train":
            report.check_trainable()
    if "valid" not in parts:
        if "test" in parts or not with_test:
            fractions, names = (0.9, 0.1), ("train", "valid")
        else:
            fractions, names = (0.8, 0.1, 0.1), ("train", "valid", "test")
        split = stratified_split(parts["train"], fractions, seed=seed)
        parts.update(zip(names, split, strict=True))
        print("split: " + ", ".join(f"{name} {len(parts[name])} rows" for name in names) + "\n")
    if train_rows and train_rows < len(parts["train"]):
        share = train_rows / len(parts["train"])
        parts["train"], _ = stratified_split(parts["train"], (share, 1 - share))
        print(f"cut: train {len(parts['train'])} rows\n")
    _check_labels(parts)
    return parts


def _check_labels(parts):
    """Refuses labels that the model cannot learn, before the training and not after it."""
    for part, rows in parts.items():
        unknown = sorted(set(rows["label"]) - set(parts["train"]["label"]))
        if unknown:
            raise ValueError(
                f"The {part} rows have labels that no training row has: {', '.join(unknown)}. "
                "Add training rows of these classes, or take those rows out."
            )
