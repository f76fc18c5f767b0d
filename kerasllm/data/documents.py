"""Plain text: folders of one file per document, and files of one text per line."""

import pathlib

from kerasllm.data.encodings import find_encoding, open_text


def read_documents(folder, label, encoding, report):
    """Reads a folder of documents, `folder/<label>/<document>.txt`, in the order of their paths.

    A document in an encoding that cannot be told is a bad row, not an error.

    Args:
        folder: The folder. Only files named `.txt` count, at any depth below the label's folder.
        label: Whether the folders of the first level are labels; if `None` they mean nothing.
        encoding: The encoding of all documents, or `None` to find that of each.
        report: The `TableReport`, which is told the encodings and the number of other files.

    Yields:
        Tuples `(path within the folder, text, label, problem)`.

    Raises:
        ValueError: If there is no document.
    """
    folder = pathlib.Path(folder)
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    files = [path for path in files if not any(part.startswith(".") for part in path.parts)]
    documents = sorted(path.as_posix() for path in files if path.suffix.lower() == ".txt")
    if not documents:
        raise ValueError(
            f"{folder} has no documents: a folder should hold <label>/<document>.txt, one text a "
            "file."
        )
    if len(documents) < len(files):
        number = len(files) - len(documents)
        report.notes.append(f"{number:,} files that are not named .txt were left out")
    encodings = set()
    for place in documents:
        first_folder, *rest = place.split("/")
        if label is not None and not rest:
            yield place, None, None, "missing label: not in a folder named after its label"
            continue
        try:
            found = find_encoding(folder / place, encoding)
        except ValueError as error:
            yield place, None, None, str(error)
            continue
        encodings.add(found.name)
        report.encoding = ", ".join(sorted(encodings))
        if found.cut_line is not None:
            report.warnings.append(f"{place} ends in the middle of a character, which is left out")
        with open_text(folder / place, found) as file:
            content = file.read()
        if found.cut_line is not None:
            content = content.removesuffix("\ufffd")
        yield place, content.rstrip("\n"), None if label is None else first_folder, None


def read_texts(path, encoding=None):
    """Reads the texts to predict on from a plain text file, one per line.

    Every line gives one text, the empty ones too, so the n-th prediction belongs to the n-th line.
    Lines end with LF, CRLF or CR and with nothing else: a U+2028 or a form feed is part of a text.
    Tables are read with `read_table(path, label=None)`.

    Examples:
        >>> texts = read_texts("reviews.txt")

    Args:
        path: The file, gzip or not.
        encoding: Its encoding; `None` finds UTF-8, UTF-16 (with byte order mark) and GB18030.

    Returns:
        A list of strings without line ends.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the encoding cannot be told, or if the file ends in the middle of a
            character.
    """
    found = find_encoding(path, encoding)
    if found.cut_line is not None:
        raise ValueError(
            f"{path} ends in the middle of a character on line {found.cut_line}: it seems to be "
            "cut. Complete the file or remove that line."
        )
    with open_text(path, found) as file:
        return [line.removesuffix("\n") for line in file]
