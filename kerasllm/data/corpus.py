"""Corpora: the documents of text files, JSON Lines, tables and folders, cleaned, each once."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import re

from kerasllm.data.encodings import find_encoding, open_text
from kerasllm.data.table import read_table

DOCUMENTS = ("auto", "line", "block", "file")

_TEXT, _JSON, _TABLE = (".txt", ".text", ".md"), (".jsonl", ".ndjson"), (".csv", ".tsv", ".xlsx")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclasses.dataclass
class CorpusReport:
    """What reading a corpus found; complete when its last document has been taken.

    Attributes:
        files: Number of files read.
        documents: Number of documents given.
        duplicates: Number of documents left out because they had come before.
        empty: Number of documents without any text, after cleaning.
        characters: Sum of the documents' lengths.
        bytes: The same in UTF-8.
        notes: Sentences about what is odd: empty files, files of other kinds, bad records.
    """

    files: int = 0
    documents: int = 0
    duplicates: int = 0
    empty: int = 0
    characters: int = 0
    bytes: int = 0
    notes: list = dataclasses.field(default_factory=list)

    def __str__(self):
        parts = [f"{self.files:,} files", f"{self.documents:,} documents"]
        parts.append(f"{self.characters:,} characters")
        if self.duplicates:
            parts.append(f"{self.duplicates:,} duplicates left out")
        return "\n".join([", ".join(parts), *(f"  {note}" for note in self.notes)])


class Corpus:
    """The documents of files and folders, in the order of the paths given.

    What a document is depends on the kind of file. An object of a JSON Lines file is one, by its
    text field; so is a row of a table (CSV, TSV, XLSX). A text file is cut by `documents`:
    `"line"`, every line is one; `"block"`, blocks of lines between empty lines; `"file"`, all of
    it; `"auto"`, by default, takes lines where a file has no empty line between others (poems,
    headlines, sentences) and else the whole file (books, plays), since what stands around an empty
    line there belongs together. Any of them may be packed by gzip. A folder stands for all such
    files in it, at any depth, by name.

    Cleaning goes line by line, so that lines stay lines. By default a text stays as it is, but for
    line ends, which become `\\n`, and halves of surrogate pairs: what a language model is measured
    on should be what the file says.

    Examples:

    >>> corpus = kerasllm.data.Corpus(["books/", "news.jsonl.gz"])
    >>> for document in corpus:
    ...     print(document[:20])
    >>> print(corpus.report)

    Args:
        paths: Files and folders.
        documents: `"auto"`, `"line"`, `"block"` or `"file"`, see above.
        text: The field or column of the text in JSON Lines and tables. `"text"` by default.
        encoding: Of all files; by default that of each is found (UTF-8, UTF-16, GB18030).
        cleaner: A function from text to text, such as a `kerasllm.text.TextCleaner`.
        deduplicate: Whether a document that has come before, by the hash of its clean text, is left
            out. True by default.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If `documents` is unknown or a folder holds nothing to read; on reading, if a
            file cannot be read as text, or there is no document at all.
    """

    def __init__(
        self,
        paths,
        documents="auto",
        text="text",
        encoding=None,
        cleaner=None,
        deduplicate=True,
    ):
        if documents not in DOCUMENTS:
            raise ValueError(f"documents={documents!r} should be one of {', '.join(DOCUMENTS)}.")
        paths = [paths] if isinstance(paths, str | pathlib.Path) else list(paths)
        if not paths:
            raise ValueError("A corpus needs at least one file or folder.")
        self.documents = documents
        self.text = text
        self.encoding = encoding
        self.cleaner = cleaner
        self.deduplicate = deduplicate
        self._notes = []
        self.files = list(itertools.chain.from_iterable(map(self._expand, paths)))
        self.report = CorpusReport()

    def settings(self):
        """What decides, besides the files, which documents come out; a dict that JSON can hold."""
        cleaner = self.cleaner
        if cleaner is not None:
            config = cleaner.get_config() if hasattr(cleaner, "get_config") else repr(cleaner)
            cleaner = [type(cleaner).__name__, config]
        return {
            "documents": self.documents,
            "text": self.text,
            "encoding": self.encoding,
            "cleaner": cleaner,
            "deduplicate": self.deduplicate,
        }

    def __iter__(self):
        self.report = report = CorpusReport(notes=list(self._notes))
        seen = set()
        for path in self.files:
            before = report.documents + report.duplicates
            for document in self._read(path):
                document = self._clean(document)
                if not document or document.isspace():
                    report.empty += 1
                    continue
                content = document.encode("utf-8")
                if self.deduplicate:
                    key = hashlib.blake2b(content, digest_size=16).digest()
                    if key in seen:
                        report.duplicates += 1
                        continue
                    seen.add(key)
                report.documents += 1
                report.characters += len(document)
                report.bytes += len(content)
                del content  # not beside the tokens that are made of it
                yield document
            report.files += 1
            if report.documents + report.duplicates == before:
                report.notes.append(f"{path} holds no text")
        if not report.documents:
            names = ", ".join(map(str, self.files[:3])) + (" ..." if len(self.files) > 3 else "")
            raise ValueError(f"There is no text in {names}; a corpus needs at least one document.")

    def _clean(self, document):
        if _SURROGATE.search(document):
            document = document.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if self.cleaner is None:
            return document
        return "\n".join(map(self.cleaner, document.split("\n")))

    def _expand(self, path):
        """The files that a path stands for."""
        path = pathlib.Path(path)
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise FileNotFoundError(f"{path} does not exist; give files or folders with texts.")
        inside = [file for file in sorted(path.rglob("*")) if file.is_file()]
        inside = [
            file
            for file in inside
            if not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        files = [file for file in inside if _kind(file) in (*_TEXT, *_JSON, *_TABLE)]
        if not files:
            raise ValueError(
                f"{path} holds no file named {', '.join((*_TEXT, *_JSON, *_TABLE))} (or .gz of it)."
            )
        if len(files) < len(inside):
            self._notes.append(
                f"{path}: {len(inside) - len(files):,} files of other kinds left out"
            )
        return files

    def _read(self, path):
        """The documents of a file, as they stand in it."""
        if path.stat().st_size == 0:
            return []
        kind = _kind(path)
        if kind in _TABLE:
            return self._read_table(path)
        encoding = find_encoding(path, self.encoding)
        if encoding.cut_line is not None:
            self.report.notes.append(
                f"{path} ends in the middle of a character, which is left out: it may be cut off"
            )
        if kind in _JSON:
            return self._read_json(path, encoding)
        return self._read_text(path, encoding)

    def _read_text(self, path, encoding):
        unit = self.documents
        if unit == "auto":
            unit = "file" if _has_inner_blank_line(path, encoding) else "line"
        with open_text(path, encoding) as file:
            if unit == "file":
                yield _without_cut(file.read(), encoding)
                return
            lines = (_without_cut(line.removesuffix("\n"), encoding) for line in file)
            if unit == "line":
                yield from (line for line in lines if line)
                return
            for blank, block in itertools.groupby(lines, lambda line: not line.strip()):
                if not blank:
                    yield "\n".join(block)

    def _read_json(self, path, encoding):
        bad, first = 0, None
        with open_text(path, encoding) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    document = json.loads(line)[self.text]
                    if not isinstance(document, str):
                        raise TypeError
                except (ValueError, KeyError, TypeError, IndexError):
                    bad, first = bad + 1, first or number
                    continue
                yield _unix_lines(document)
        if bad:
            self.report.notes.append(
                f"{path}: {bad:,} lines without a text in the field {self.text!r} left out, the"
                f" first is line {first}"
            )

    def _read_table(self, path):
        text = int(self.text) if self.text.isdecimal() else self.text
        rows, report = read_table(path, text=text, label=None, encoding=self.encoding)
        if report.dropped:
            self.report.notes.append(f"{path}: {len(report.dropped):,} bad rows left out")
        return map(_unix_lines, rows["text"])


def _kind(path):
    """The ending that tells how a file is read, without `.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return pathlib.PurePath(name).suffix


def _has_inner_blank_line(path, encoding):
    with open_text(path, encoding) as file:
        text_before = blank_after_text = False
        for line in file:
            if line.strip():
                if blank_after_text:
                    return True
                text_before = True
            elif text_before:
                blank_after_text = True
    return False


def _unix_lines(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_cut(text, encoding):
    return text.removesuffix("\ufffd") if encoding.cut_line is not None else text
