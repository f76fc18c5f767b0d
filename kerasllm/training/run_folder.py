"""The output folder of a training run: what it was started with, and whether it may go on."""

import json
import pathlib

from kerasllm.files import atomic_write

SETTINGS = "settings.json"


def open_run_folder(folder, settings, resume, may_change=(), begun=None):
    """Makes the folder of a new run, or checks that a run can go on in it.

    The settings are kept as `settings.json`. A run goes on only with the settings that it was
    started with: another seed or learning rate would silently make a third model out of two.

    Args:
        folder: The output folder.
        settings: A dict that JSON can hold.
        resume: Whether a run found there is to go on; with nothing there a new one starts.
        may_change: Names of settings that may differ, such as the number of epochs.
        begun: Pattern of the files that a run leaves once it has begun to learn, such as
            `"checkpoints/*"`. A folder without them holds the settings of a run that was refused
            for some reason after this, and no run. By default the settings are a run.

    Returns:
        The folder as a path, and whether there was a run in it.

    Raises:
        NotADirectoryError: If `folder` is a file.
        FileExistsError: If there is a run and `resume` is false.
        ValueError: If it was started with other settings, or the file that holds them is damaged.
    """
    folder = pathlib.Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a folder with --output-dir.")
    path = folder / SETTINGS
    found = path.is_file() and (begun is None or any(folder.glob(begun)))
    if found and not resume:
        raise FileExistsError(
            f"{folder} holds an earlier run. Add --resume to go on with it, or name another folder "
            "with --output-dir."
        )
    if found:
        before = _read_settings(path)
        changed = [
            f"{name} was {before.get(name)!r} and is {value!r}"
            for name, value in settings.items()
            if name not in may_change and before.get(name) != value
        ]
        if changed:
            raise ValueError(
                f"{folder} cannot be resumed with other settings: {'; '.join(changed)}. Take the "
                "same ones, or another folder."
            )
    with atomic_write(path) as file:
        json.dump(settings, file, ensure_ascii=False, indent=1)
    return folder, found


def _read_settings(path):
    try:
        settings = json.loads(path.read_bytes())
        if not isinstance(settings, dict):
            raise ValueError(f"it holds a {type(settings).__name__}")
    except ValueError as error:  # not JSON, or not UTF-8
        raise ValueError(
            f"{path} is damaged ({error}). Delete {path.parent} to start afresh, or name another "
            "folder."
        ) from error
    return settings
