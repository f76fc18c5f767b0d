"""Which encoding a file of Chinese text is in, and opening it for reading.

UTF-8, UTF-16 with a byte order mark and GB18030 (hence GBK and GB2312) are recognised. Bytes in
Big5 often decode as GB18030 too, into nonsense, so decoding without an error proves little: GB18030
is taken only if the text it gives is made of common characters and no rival reading is. Otherwise
the user is asked, with the likely encodings named.
"""

import codecs
import contextlib
import dataclasses
import functools
import gzip
import io
import re
import zlib

import numpy as np

_CHUNK_BYTES = 1 << 20
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# The share of the characters outside ASCII that must be common for a reading to be plausible.
# Chinese text read rightly has 0.95 and more; Big5 read as GB18030 has under 0.45.
_PLAUSIBLE_SHARE = 0.9
_RIVALS = ("big5", "big5hkscs", "euc_kr")
# Three hanzi in a row in UTF-8. The same bytes are next to impossible in GB18030.
_UTF8_RUN = re.compile(rb"(?:[\xe4-\xe9][\x80-\xbf]{2}){3}")


@dataclasses.dataclass(frozen=True)
class FileEncoding:
    """The encoding of a file.

    Attributes:
        name: The codec's name, as `open` takes it.
        cut_line: The number of the last line if the file ends in the middle of a character,
            else `None`.
    """

    name: str
    cut_line: int | None = None


@contextlib.contextmanager
def open_bytes(path):
    """Opens a file for reading bytes; gzip is recognised by its first bytes and unpacked."""
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else contextlib.nullcontext(raw) as stream:
                yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is a damaged or cut gzip file: {error}") from error


@contextlib.contextmanager
def open_text(path, encoding, newline=None):
    """Opens a text file without its byte order mark.

    Args:
        path: The file.
        encoding: A `FileEncoding`. A character cut at the end of the file reads as U+FFFD.
        newline: As in `open`.

    Yields:
        The open text file.
    """
    errors = "strict" if encoding.cut_line is None else "replace"
    with (
        open_bytes(path) as stream,
        io.TextIOWrapper(stream, encoding.name, errors, newline) as file,
    ):
        if file.read(1) != "\ufeff":
            file.seek(0)
        yield file


def find_encoding(path, encoding=None):
    """Finds a file's encoding, or checks the one given, by decoding all of it.

    Args:
        path: The file, gzip or not.
        encoding: The encoding that the user says it is in, or `None` to find out.

    Returns:
        A `FileEncoding`.

    Raises:
        ValueError: If the file has bytes that are wrong in `encoding` (the line is named), if
            more than one reading or none is plausible, or if the encoding is unknown.
    """
    with open_bytes(path) as stream:
        head = stream.read(4096)
    mark = next((mark for mark in _BYTE_ORDER_MARKS if head.startswith(mark)), None)
    if encoding is None and mark is None and head.count(0) * 20 > len(head):
        raise ValueError(
            f"{path} has many zero bytes: it is not text, or UTF-16 without a byte order mark, "
            'which must be named: encoding="utf-16-le" or encoding="utf-16-be".'
        )
    name = encoding or _BYTE_ORDER_MARKS.get(mark, "utf-8")
    try:
        io.TextIOWrapper(io.BytesIO(), name)
    except LookupError as error:
        raise ValueError(f"encoding={encoding!r} is not known to Python: {error}.") from error
    scan = _scan(path, name)
    if scan.bad_line is None:
        return FileEncoding(name, scan.cut_line)
    if encoding is None and mark is None:
        return _find_chinese_encoding(path, scan.bad_line)
    problem = f"{path} is not {name}: line {scan.bad_line} has bytes that are wrong in it."
    likely = [] if mark else _plausible_readings(path)
    if likely:
        problem += f" It may be {_choices(likely)}."
    raise ValueError(problem)


def _find_chinese_encoding(path, bad_line):
    """Takes GB18030 if it is the only plausible reading of a file whose `bad_line` is not UTF-8."""
    utf8_line = _first_utf8_line(path)
    if utf8_line is not None:
        raise ValueError(
            f"{path} mixes encodings or is damaged: line {bad_line} is not UTF-8, but line "
            f"{utf8_line} is. Bring all of it to one encoding first."
        )
    likely = _plausible_readings(path)
    if not likely:
        raise ValueError(
            f"{path} is not UTF-8 (line {bad_line}), and read as GB18030 or Big5 it is not made of "
            "common characters either: give encoding=."
        )
    if list(likely) != ["gb18030"]:
        raise ValueError(
            f"{path} is not UTF-8 (line {bad_line}), and what it is cannot be told for sure: give "
            f"{_choices(likely)}."
        )
    return FileEncoding("gb18030", likely["gb18030"].cut_line)


def _plausible_readings(path):
    """The encodings in which a file decodes into common characters: a dict of name to scan."""
    readings = {}
    for name in ("gb18030", *_RIVALS):
        if name == "big5hkscs" and "big5" in readings:
            continue
        scan = _scan(path, name, count_characters=True)
        if scan.bad_line is None and scan.share_of(_common_characters(name)) >= _PLAUSIBLE_SHARE:
            readings[name] = scan
    return readings


def _choices(names):
    return " or ".join(f'encoding="{name}"' for name in names)


@dataclasses.dataclass
class _Scan:
    """What decoding a whole file showed."""

    bad_line: int | None = None
    cut_line: int | None = None
    counts: np.ndarray | None = None  # (65536,), how often each UTF-16 code unit occurs

    def share_of(self, common):
        """The share of the characters outside ASCII, emoji left out, that are `common`."""
        counts = self.counts.copy()
        counts[:0x80] = counts[0xD800:0xE000] = 0
        return counts[common].sum() / max(1, counts.sum())


def _scan(path, name, count_characters=False):
    """Decodes a file piece by piece, up to the first bad byte."""
    decoder = codecs.getincrementaldecoder(name)()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    scan = _Scan(counts=np.zeros(0x10000, np.int64) if count_characters else None)
    line = 1
    with open_bytes(path) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            try:
                text = decoder.decode(chunk)
            except UnicodeDecodeError as error:
                # error.object also holds what was left over from the chunk before.
                good = error.object[: error.start].decode(name)
                scan.bad_line = line + newlines.decode(good, final=True).count("\n")
                return scan
            line += newlines.decode(text).count("\n")
            if count_characters:
                units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
                scan.counts += np.bincount(units, minlength=0x10000)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        scan.cut_line = line
    return scan


@functools.cache
def _common_characters(name):
    """The characters that ordinary text in an encoding is made of, as code points.

    For GB18030 those are the 3,755 hanzi of GB2312's first level and punctuation; kana are left
    out, for a text full of them is Japanese. For Big5 they are its 5,401 frequent hanzi and
    punctuation, for EUC-KR the hangul syllables and punctuation.
    """
    if name == "gb18030":
        codec, leads, trails = "gb2312", [0xA1, 0xA3, *range(0xB0, 0xD8)], range(0xA1, 0xFF)
    elif name == "euc_kr":
        codec, leads, trails = "euc_kr", [0xA1, 0xA3, *range(0xB0, 0xC9)], range(0xA1, 0xFF)
    else:
        codec, leads = "big5", [0xA1, 0xA2, *range(0xA4, 0xC7)]
        trails = [*range(0x40, 0x7F), *range(0xA1, 0xFF)]
    pairs = (bytes([lead, trail]) for lead in leads for trail in trails)
    characters = (pair.decode(codec, "ignore") for pair in pairs)
    return np.array([ord(character) for character in characters if len(character) == 1])


def _first_utf8_line(path):
    """The number of the first line that is Chinese in UTF-8, or `None`."""
    lines_before = 0
    with open_bytes(path) as stream:
        while lines := stream.readlines(_CHUNK_BYTES):
            for number, line in enumerate(lines, lines_before + 1):
                if _UTF8_RUN.search(line):
                    with contextlib.suppress(UnicodeDecodeError):
                        line.decode("utf-8")
                        return number
            lines_before += len(lines)
    return None
