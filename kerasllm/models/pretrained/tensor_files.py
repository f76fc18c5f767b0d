"""The tensors of a folder, whatever files they lie in."""

import json
import pathlib
import re

import numpy as np

from kerasllm.models.pretrained.torch_files import read_torch_file

SAFETENSORS_FILE = "model.safetensors"
TORCH_FILE = "pytorch_model.bin"
TENSORFLOW_PREFIX = "bert_model.ckpt"

# What old checkpoints call the weights of layer normalisation.
_OLD_NAMES = ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias"))
# Buffers that transformers once saved, and the state of optimizers.
_NO_WEIGHTS = re.compile(r"(^|\.)position_ids$|/adam_[mv]$|^global_step$")


class Tensors:
    """Tensors by name: their shapes at once, their values when they are asked for.

    Args:
        source: What messages name.
        shapes: A dict of name to shape.
        read: A function of a name that gives the array.
    """

    def __init__(self, source, shapes, read):
        self.source = source
        self._read = read
        self._names = {_new_name(name): name for name in shapes if not _NO_WEIGHTS.search(name)}
        self.shapes = {new: tuple(shapes[old]) for new, old in self._names.items()}

    def __getitem__(self, name):
        """The tensor as a float32 array."""
        return np.asarray(self._read(self._names[name])).astype(np.float32, copy=False)

    def renamed(self, rename):
        """The same tensors, by other names."""
        names = {rename(new): old for new, old in self._names.items()}
        shapes = {rename(new): shape for new, shape in self.shapes.items()}
        renamed = Tensors(self.source, {}, self._read)
        renamed._names, renamed.shapes = names, shapes
        return renamed


def open_tensors(folder):
    """The tensors of a folder: model.safetensors, in one part or several, else pytorch_model.bin,
    the same, else bert_model.ckpt, each by the names of transformers.

    Raises:
        FileNotFoundError: If there is none of these, or a part is missing.
        ImportError: If the safetensors package is needed and missing.
        ValueError: If a file is damaged.
    """
    folder = pathlib.Path(folder)
    for name, opened in ((SAFETENSORS_FILE, _open_safetensors), (TORCH_FILE, _open_torch)):
        paths = _parts(folder, name)
        if paths:
            return opened(paths)
    if (folder / f"{TENSORFLOW_PREFIX}.index").is_file():
        from kerasllm.models.pretrained.tensorflow_files import open_tensorflow_checkpoint

        return Tensors(*open_tensorflow_checkpoint(folder / TENSORFLOW_PREFIX))
    raise FileNotFoundError(
        f"{folder} holds no weights: there is no {SAFETENSORS_FILE}, no {TORCH_FILE} and no "
        f"{TENSORFLOW_PREFIX}.index."
    )


def _parts(folder, name):
    """The file of this name, or the parts that its index lists."""
    index = folder / f"{name}.index.json"
    if (folder / name).is_file():
        return [folder / name]
    if not index.is_file():
        return []
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is broken: {error}.") from error
    for part in names:
        if pathlib.PurePath(part).name != part:
            raise ValueError(f"{index} names {part!r}, which is no file of its folder.")
        if not (folder / part).is_file():
            raise FileNotFoundError(f"{folder / part} is missing, which {index.name} lists.")
    return [folder / part for part in names]


def _open_safetensors(paths):
    try:
        import safetensors
    except ImportError as error:
        raise ImportError(
            "Reading model.safetensors needs the safetensors package: "
            "pip install 'kerasllm[pretrained]'."
        ) from error
    shapes, files = {}, {}
    for path in paths:
        try:
            opened = safetensors.safe_open(path, framework="np")
            for name in opened.keys():
                shapes[name] = opened.get_slice(name).get_shape()
                files[name] = opened
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is damaged or cut off: {error}.") from error
    return Tensors(paths[0].parent, shapes, lambda name: files[name].get_tensor(name))


def _open_torch(paths):
    tensors = {}
    for path in paths:
        tensors.update(read_torch_file(path))
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return Tensors(paths[0].parent, shapes, tensors.__getitem__)


def _new_name(name):
    for old, new in _OLD_NAMES:
        name = name.replace(old, new)
    return name
