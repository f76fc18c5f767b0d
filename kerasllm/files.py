"""Writing files so that a failure half-way never harms what was there before; reading JSON."""

import contextlib
import json
import os
import pathlib
import tempfile


@contextlib.contextmanager
def atomic_write(path, mode="w", encoding=None, newline=None):
    """Opens a temporary file beside `path` that takes its place when the block ends well.

    If the block raises, or the process is killed, `path` keeps what it held before. A symbolic link
    stays one. What is no regular file, such as `/dev/stdout` or a named pipe, is written directly.

    Args:
        path: The file to write. Its folder is made if it is missing.
        mode: `"w"` or `"wb"`.
        encoding: Text encoding, `"utf-8"` by default in text mode.
        newline: As in `open`; `""` is what the csv module wants.

    Yields:
        The open file.
    """
    path = pathlib.Path(path)
    if "b" not in mode:
        encoding = encoding or "utf-8"
    if path.exists() and not path.is_file():
        with open(path, mode, encoding=encoding, newline=newline) as file:
            yield file
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def read_json_object(path):
    """The dict that a JSON file holds.

    Args:
        path: The file, a `pathlib.Path`.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no JSON, no UTF-8, or holds no object.
    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is broken, it is no JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is broken, it holds no object.")
    return content


def _umask():
    """The process's umask, which `mkstemp` does not apply and which can only be read by setting."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def replace_file(path):
    """Yields a temporary path with the same ending; the file written there takes `path`'s place.

    For writers that want a path and not an open file, such as `model.save`. As with `atomic_write`,
    a failure leaves what was there.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replace_folder(path, mark):
    """Yields a new folder beside `path` that takes its place when the block ends well.

    If the block raises, `path` keeps what it held before.

    Args:
        path: The folder to write. Its parent is made if it is missing.
        mark: The name of a file that tells a folder of this kind: another one is not replaced.

    Raises:
        FileExistsError: If `path` is there and holds something else.
    """
    path = pathlib.Path(path).resolve()
    if path.exists() and not (path / mark).is_file() and not _is_empty_folder(path):
        raise FileExistsError(
            f"{path} is there already and is not replaced, as it holds no {mark}. Name another"
            " folder, or take it away."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        new, old = pathlib.Path(temporary, "new"), pathlib.Path(temporary, "old")
        new.mkdir()
        yield new
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)


def _is_empty_folder(path):
    return path.is_dir() and not any(path.iterdir())
