"""A corpus as token ids on disk: made once, memory-mapped, and made again when anything changed."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import zlib

import numpy as np

from kerasllm.files import atomic_write

_FORMAT, _VERSION = "kerasllm.token_cache", 1
_META, _DOCUMENT_STARTS = "token_cache.json", "document_starts"
_CHARACTERS_PER_BATCH = 1 << 20
_CHUNK_BYTES = 1 << 22


@dataclasses.dataclass(frozen=True)
class TokenCache:
    """The tokens of a corpus.

    Attributes:
        arrays: dict of name to a memory-mapped array over all tokens, `"token_ids"` among them.
        document_starts: int64 `(documents + 1,)`, where each document begins in the arrays, and
            where the last one ends.
        documents: Number of documents.
        characters: Sum of their lengths.
        bytes: The same in UTF-8.
        report: What reading the corpus found, as text.
        rebuilt: Why the arrays were made (again), or None if those on disk served.
        checksum: A number that differs where the arrays do; None for a cache in memory only.
    """

    arrays: dict
    document_starts: np.ndarray
    documents: int
    characters: int
    bytes: int
    report: str
    rebuilt: str | None
    checksum: int | None = None

    @property
    def token_ids(self):
        """Integers `(tokens,)`."""
        return self.arrays["token_ids"]

    def __len__(self):
        return int(self.document_starts[-1])


def open_token_cache(folder, corpus, encoder):
    """The tokens of a corpus, from the folder where they serve, else made and written there.

    They serve if the corpus is read by the same settings from the same files (same size, and same
    time of change or else the same hash), the encoder is the same, and the arrays on disk have
    their recorded sizes and checksums. Arrays are written to temporary files that are renamed, and
    count from the moment that `token_cache.json`, written last, describes them: after a kill at any
    moment they are found whole or made again.

    Examples:

    >>> corpus = kerasllm.data.Corpus(["train.txt"])
    >>> cache = kerasllm.data.open_token_cache("runs/tang/cache", corpus, encoder)
    >>> cache.token_ids[:10]

    Args:
        folder: The folder of the cache, one for each corpus.
        corpus: A `kerasllm.data.Corpus`.
        encoder: What makes tokens of documents: its `fingerprint` is a str that changes with
            whatever changes the tokens; `dtypes` a dict of array name to NumPy dtype; and called
            with a list of documents it returns a dict of arrays, `(tokens,)` over all of them, and
            the list of the documents' numbers of tokens.

    Returns:
        A `TokenCache`.

    Raises:
        ValueError: If the corpus cannot be read, or has no text.
    """
    folder = pathlib.Path(folder)
    wanted = {
        "format": _FORMAT,
        "version": _VERSION,
        "corpus": corpus.settings(),
        "encoder": encoder.fingerprint,
    }
    meta = _read_meta(folder)
    reason = _why_not(folder, meta, wanted, corpus.files)
    if reason is not None:
        meta = _build(folder, wanted, corpus, encoder)
    arrays = {name: _map(folder, name, entry) for name, entry in meta["arrays"].items()}
    return TokenCache(
        document_starts=np.asarray(arrays.pop(_DOCUMENT_STARTS)),
        arrays=arrays,
        documents=meta["documents"],
        characters=meta["characters"],
        bytes=meta["bytes"],
        report=meta["report"],
        rebuilt=reason,
        checksum=zlib.crc32(repr([entry["crc32"] for entry in meta["arrays"].values()]).encode()),
    )


def tokenize_corpus(corpus, encoder):
    """The tokens of a corpus, in memory only; for files that are read once.

    Args:
        corpus: A `kerasllm.data.Corpus`.
        encoder: As for `open_token_cache`.

    Returns:
        A `TokenCache`.
    """
    parts, lengths = {name: [] for name in encoder.dtypes}, []
    for documents in _batches(corpus):
        arrays, more = encoder(documents)
        lengths.extend(more)
        for name, found in parts.items():
            found.append(arrays[name])
    report = corpus.report
    return TokenCache(
        arrays={name: np.concatenate(found) for name, found in parts.items()},
        document_starts=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        documents=report.documents,
        characters=report.characters,
        bytes=report.bytes,
        report=str(report),
        rebuilt=None,
    )


def _read_meta(folder):
    try:
        meta = json.loads((folder / _META).read_bytes())
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) else None


def _why_not(folder, meta, wanted, files):
    """Why what is on disk does not serve, as a sentence; None if it does."""
    if meta is None:
        return "there was none"
    for name, what in (("format", "form"), ("version", "form"), ("corpus", "settings")):
        if meta.get(name) != wanted[name]:
            return f"the {what} changed"
    if meta.get("encoder") != wanted["encoder"]:
        return "the tokeniser changed"
    try:
        sources, arrays = meta["sources"], meta["arrays"]
        if [source["path"] for source in sources] != [str(path.resolve()) for path in files]:
            return "there are other files"
        for source, path in zip(sources, files, strict=True):
            found = path.stat()
            if found.st_size != source["size"] or (
                found.st_mtime_ns != source["mtime_ns"] and _hash(path) != source["hash"]
            ):
                return f"{path} changed"
        for name, entry in arrays.items():
            path = folder / f"{name}.bin"
            if not path.is_file() or path.stat().st_size != entry["size"]:
                return f"{path} is missing or cut off"
            if _checksum(path) != entry["crc32"]:
                return f"{path} is damaged"
    except (KeyError, TypeError) as error:
        return f"{folder / _META} is damaged ({error})"
    return None


def _build(folder, wanted, corpus, encoder):
    sources = [_describe(path) for path in corpus.files]
    dtypes = {name: np.dtype(dtype) for name, dtype in encoder.dtypes.items()}
    starts, checksums = [0], dict.fromkeys(dtypes, 0)
    with contextlib.ExitStack() as stack:
        files = {
            name: stack.enter_context(atomic_write(folder / f"{name}.bin", "wb")) for name in dtypes
        }
        for documents in _batches(corpus):
            arrays, lengths = encoder(documents)
            for name, dtype in dtypes.items():
                content = np.ascontiguousarray(arrays[name], dtype).data
                files[name].write(content)
                checksums[name] = zlib.crc32(content, checksums[name])
            starts.extend((starts[-1] + np.cumsum(lengths)).tolist())
        if not starts[-1]:
            raise ValueError(f"The corpus {corpus.files[0]} has text, but no token in it.")
        content = np.asarray(starts, np.int64).tobytes()
        stack.enter_context(atomic_write(folder / f"{_DOCUMENT_STARTS}.bin", "wb")).write(content)
    dtypes[_DOCUMENT_STARTS], checksums[_DOCUMENT_STARTS] = np.dtype(np.int64), zlib.crc32(content)
    meta = {
        **wanted,
        "sources": sources,
        "arrays": {
            name: {
                "dtype": dtype.name,
                "size": (folder / f"{name}.bin").stat().st_size,
                "crc32": checksums[name],
            }
            for name, dtype in dtypes.items()
        },
        "documents": corpus.report.documents,
        "characters": corpus.report.characters,
        "bytes": corpus.report.bytes,
        "report": str(corpus.report),
    }
    with atomic_write(folder / _META) as file:
        json.dump(meta, file, ensure_ascii=False, indent=1)
    return meta


def _batches(corpus):
    """Lists of documents of about a million characters, for encoders that like many at once."""
    batch, characters = [], 0
    for document in corpus:
        batch.append(document)
        characters += len(document)
        if characters >= _CHARACTERS_PER_BATCH:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _map(folder, name, entry):
    return np.memmap(folder / f"{name}.bin", np.dtype(entry["dtype"]), "r")


def _describe(path):
    # Times first: a file that changes while it is read has another time afterwards.
    found = path.stat()
    return {
        "path": str(path.resolve()),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "hash": _hash(path),
    }


def _hash(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _checksum(path):
    checksum = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
