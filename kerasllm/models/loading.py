"""Loading a saved model."""

import pathlib
import zipfile

import keras


def load_model(path):
    """`keras.models.load_model` that says in a sentence which file is missing or damaged.

    Args:
        path: A `.keras` file.

    Returns:
        The model, compiled as it was when it was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be loaded.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no saved model, or is cut off: bring back the whole file.")
    try:
        return keras.models.load_model(path)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be loaded as a model: {error}") from error
