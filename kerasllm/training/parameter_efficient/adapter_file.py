"""What a method has learned, as a small file beside the base model."""

import hashlib
import json

import h5py
import numpy as np

from kerasllm.files import replace_file
from kerasllm.training.parameter_efficient.adapted_model import AdaptedModel
from kerasllm.training.parameter_efficient.method import make_method

_FORMAT = "kerasllm.adapter"
_VERSION = 1


def save_adapter(model, path):
    """Writes what trains in an adapted model, and which base it belongs to.

    Args:
        model: An `AdaptedModel`.
        path: The file, HDF5; its name usually ends with `.weights.h5`.
    """
    variables = _saved_variables(model)
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "method": model.method.get_config(),
        "head": model.get_config()["head"],
        "base": fingerprint(model.base, leave_out=variables),
    }
    with replace_file(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["header"] = json.dumps(header)
        for name, variable in variables.items():
            file.create_dataset(name, data=np.array(variable))


def load_adapter(base, path):
    """Puts what `save_adapter` wrote back onto the base that it was learned on.

    Nothing is changed before all of it is known to fit.

    Examples:

    >>> base = kerasllm.models.BertClassifier.from_pretrained(folder, num_classes=2, missing="new")
    >>> adapted = load_adapter(base, "adapter.weights.h5")

    Args:
        base: The model, with the weights that it had when the method was put onto it. What the
            file holds, such as the head, may be other.
        path: The file.

    Returns:
        An `AdaptedModel`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or of another base.
    """
    header, values = _read(path)
    found = fingerprint(base, leave_out=values)
    if found != header["base"]:
        raise ValueError(
            f"{path} was learned on another base model than {base.name}: its frozen weights are "
            f"{header['base'][:12]}, those of the model {found[:12]}."
        )
    model = AdaptedModel(base, make_method(**header["method"]), head=header["head"])
    variables = _saved_variables(model)
    problems = [
        f"{name} is {values[name].shape if name in values else 'missing'} in the file and "
        f"{variables[name].shape if name in variables else 'missing'} in the model"
        for name in sorted(variables.keys() | values.keys())
        if name not in values
        or name not in variables
        or values[name].shape != tuple(variables[name].shape)
    ]
    if problems:
        model.detach()
        raise ValueError(f"{path} does not fit the model: {'; '.join(problems)}.")
    for name, variable in variables.items():
        variable.assign(values[name])
    return model


def fingerprint(base, leave_out=()):
    """A hash of a model's weights: their paths, shapes, dtypes and values.

    Args:
        base: A built Keras model.
        leave_out: Paths of weights that do not count.

    Returns:
        64 hexadecimal digits of SHA-256.
    """
    digest = hashlib.sha256()
    for variable in sorted(_parameters(base), key=lambda variable: variable.path):
        if variable.path not in leave_out:
            digest.update(f"{variable.path} {tuple(variable.shape)} {variable.dtype}\n".encode())
            digest.update(np.ascontiguousarray(np.array(variable)).data)
    return digest.hexdigest()


def _saved_variables(model):
    """By name: all that trains, and which singular values are kept."""
    base = {v.path: v for v in _parameters(model.base) if v.trainable}
    own = {
        f"adapters/{v.path}": v
        for layer in model.adapters
        for v in layer.weights
        if v.trainable or v.name == "kept"
    }
    return base | own


def _parameters(model):
    """The weights without the states of random generators."""
    return [v for v in model.weights if "seed_generator" not in v.path]


def _read(path):
    try:
        with h5py.File(path, "r") as file:
            header = json.loads(file.attrs["header"])
            if header["format"] != _FORMAT or header["version"] != _VERSION:
                raise ValueError(f"it holds {header['format']} {header['version']}")
            values = {}
            file.visititems(
                lambda name, item: (
                    values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
            header["method"], header["base"], header["head"]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing.") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no adapter file, or is damaged: {error}.") from error
    return header, values
