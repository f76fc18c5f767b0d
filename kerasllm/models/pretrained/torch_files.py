"""Reads pytorch_model.bin without PyTorch, and without running what a pickle may hold.

A pickle is a program. This reader knows the few functions that a file of weights calls, and refuses
every other name before anything is called. Both forms that `torch.save` has had are read: the zip
archive, and the row of pickles before PyTorch 1.6, in which many Chinese models are published.
"""

import collections
import io
import math
import pickle
import zipfile

import ml_dtypes
import numpy as np

_STORAGES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_torch_file(path):
    """The tensors of a file that `torch.save` wrote from a dict of tensors.

    Args:
        path: The file.

    Returns:
        A dict of name to NumPy array.

    Raises:
        ValueError: If the file is cut off, is none of weights, or calls another function.
    """
    try:
        with open(path, "rb") as file:
            zipped = zipfile.is_zipfile(file)
            file.seek(0)
            content = _read_zip(file) if zipped else _read_legacy(file)
    except (pickle.UnpicklingError, ValueError) as error:
        raise ValueError(f"{path} is refused: {error}") from error
    except (
        *(AttributeError, EOFError, IndexError, KeyError, TypeError, OverflowError),
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(
            f"{path} is no file of PyTorch weights, or is cut off "
            f"({type(error).__name__}: {error})."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, np.ndarray) for name, tensor in content.items()
    ):
        raise ValueError(f"{path} holds something else than a dict of tensors.")
    return dict(content)


class _Storage:
    """Numbers of one dtype in a row, once they are read."""

    def __init__(self, dtype, count, values=None):
        self.dtype, self.count, self.values = dtype, count, values


class _Tensor:
    """Where a tensor lies in a storage: the legacy form has the numbers behind all tensors."""

    def __init__(self, storage, offset, shape, strides):
        for number in (offset, *shape, *strides):
            if type(number) is not int or number < 0:
                raise ValueError("a tensor's shape is none.")
        if len(shape) != len(strides):
            raise ValueError("a tensor has other strides than axes.")
        last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if math.prod(shape) and offset + last >= storage.count:
            raise ValueError("a tensor reaches beyond its storage.")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self):
        values = self.storage.values[self.offset :]
        strides = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values, self.shape, strides, writeable=False)


def _rebuild_tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor has no storage.")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor, *_):
    return tensor


_FUNCTIONS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows the functions of weights only."""

    def __init__(self, file, storage):
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def find_class(self, module, name):
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in _FUNCTIONS:
            return _FUNCTIONS[module, name]
        raise pickle.UnpicklingError(
            f"it calls {module}.{name}, which files of weights do not; it may hold a harmful "
            "program. Ask for a model.safetensors, or make one of it where you trust it."
        )

    def persistent_load(self, identifier):
        kind, dtype, key, _, count, *view = identifier
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise ValueError(f"it holds a {kind!r} of an unknown form.")
        return self._storage(dtype, str(key), int(count))


def _read_zip(file):
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError("it has no data.pkl, so it is no file of PyTorch weights.")
        root = names[0].removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("its numbers are big-endian.")
        storages = {}

        def storage(dtype, key, count):
            if key not in storages:
                content = archive.read(f"{root}data/{key}")
                if len(content) != count * dtype.itemsize:
                    raise ValueError(f"its storage {key} is cut off.")
                storages[key] = _Storage(dtype, count, np.frombuffer(content, dtype))
            return storages[key]

        content = _Unpickler(io.BytesIO(archive.read(names[0])), storage).load()
    return _to_arrays(content)


def _read_legacy(file):
    def no_storage(*_):
        raise ValueError("it is no file of PyTorch weights.")

    if _Unpickler(file, no_storage).load() != _LEGACY_MAGIC:
        raise ValueError("it is no file of PyTorch weights.")
    _Unpickler(file, no_storage).load()  # the format's version
    system = _Unpickler(file, no_storage).load()
    if not system.get("little_endian", True):
        raise ValueError("its numbers are big-endian.")
    storages = {}

    def storage(dtype, key, count):
        return storages.setdefault(key, _Storage(dtype, count))

    content = _Unpickler(file, storage).load()
    for key in _Unpickler(file, no_storage).load():
        found = storages[str(key)]
        count = int.from_bytes(file.read(8), "little")
        values = file.read(count * found.dtype.itemsize) if count == found.count else b""
        if len(values) != found.count * found.dtype.itemsize:
            raise ValueError(f"its storage {key} is cut off.")
        found.values = np.frombuffer(values, found.dtype)
    return _to_arrays(content)


def _to_arrays(content):
    if not isinstance(content, dict):
        return content
    return {
        name: value.array() if isinstance(value, _Tensor) else value
        for name, value in content.items()
    }
