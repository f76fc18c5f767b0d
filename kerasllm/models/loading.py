"""Saving a model without its optimizer's state, and loading one."""

import contextlib
import pathlib
import warnings
import zipfile

import keras


def load_model(path):
    """`keras.models.load_model` that says in a sentence which file is missing or damaged.

    Args:
        path: A `.keras` file.

    Returns:
        The model, compiled as it was when it was saved. Where the file has no state of the
        optimizer, that begins anew.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be loaded.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no saved model, or is cut off: bring back the whole file.")
    try:
        with warnings.catch_warnings():
            # What save_without_optimizer left out on purpose.
            warnings.filterwarnings("ignore", ".*the saved optimizer has 0 variables")
            return keras.models.load_model(path)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be loaded as a model: {error}") from error


def save_without_optimizer(model, path):
    """`model.save` without the state of the optimizer, which for Adam is twice the weights.

    Args:
        model: A built Keras model, compiled or not.
        path: A `.keras` file.
    """
    with without_optimizer(model):
        model.save(path)


@contextlib.contextmanager
def without_optimizer(model):
    """Within the block a model is saved without its optimizer's state, but compiled as it is."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        yield
        return
    model.optimizer = None  # its config is kept elsewhere
    try:
        yield
    finally:
        model.optimizer = optimizer
