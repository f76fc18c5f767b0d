"""Checkpoints that are whole or not there: variables and the state of a training in one file."""

import json
import pathlib
import re
import zipfile

import numpy as np

from kerasllm.files import replace_file

_NAME = re.compile(r"step_(\d{9})\.npz")
_STATE = "state"
# For `open_run_folder`: what a run's folder holds once it has begun to learn.
BEGUN = "checkpoints/step_*.npz"


class Checkpoints:
    """The last checkpoints of a training, in a folder.

    Each is one file that is written under another name, forced to disk and renamed, so that a kill
    or a full disk in the middle leaves those before as they are. What a file holds is checked by
    the checksums in it when it is read; if the last one is damaged, the one before serves.

    Args:
        folder: The folder, made if it is missing.
        keep: How many of the last are kept. 2 by default.
    """

    def __init__(self, folder, keep=2):
        self.folder = pathlib.Path(folder)
        self.keep = keep

    def steps(self):
        """The steps of the checkpoints in the folder, in their order."""
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def save(self, step, variables, state):
        """Writes a checkpoint, then deletes the oldest.

        Args:
            step: Number of steps done.
            variables: Keras variables: the model's, those of its random generators too, and the
                optimizer's.
            state: A dict that JSON can hold.

        Raises:
            OSError: If it could not be written; what was there before is there still.
        """
        # A write that was killed half-way leaves its file.
        for path in self.folder.glob(".*.npz"):
            path.unlink(missing_ok=True)
        arrays = {f"{index:06}": _to_numpy(variable) for index, variable in enumerate(variables)}
        arrays[_STATE] = np.frombuffer(json.dumps(state).encode("utf-8"), np.uint8)
        with replace_file(self._path(step)) as temporary:
            np.savez(temporary, **arrays)
        for old in self.steps()[: -self.keep]:
            self._path(old).unlink(missing_ok=True)

    def delete(self, step):
        """Deletes the checkpoint of a step, if there is one."""
        self._path(step).unlink(missing_ok=True)

    def restore(self, variables, say=print, before=None):
        """Gives variables the values of the last checkpoint that is whole.

        Args:
            variables: The variables that were saved, in the same order.
            say: Called with a sentence for each checkpoint that is damaged.
            before: Only checkpoints of steps before this one count, unless none of them is whole.

        Returns:
            `(step, state)`, or None if there is no checkpoint.

        Raises:
            ValueError: If there are checkpoints but none is whole, or they are of another model.
        """
        steps = self.steps()
        # Those before the step come last here, and so are looked at first.
        for step in sorted(steps, key=lambda step: (before is None or step < before, step))[::-1]:
            path = self._path(step)
            try:
                # Opened here, as NumPy leaves a file open that is no archive.
                with open(path, "rb") as stream, np.load(stream) as file:
                    arrays = {name: file[name] for name in file.files}
                state = json.loads(arrays.pop(_STATE).tobytes())
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                say(f"{path} is damaged ({error}); the checkpoint before it is taken.")
                continue
            self._assign(path, variables, [arrays[name] for name in sorted(arrays)])
            return step, state
        if steps:
            raise ValueError(f"No checkpoint in {self.folder} is whole; start in another folder.")
        return None

    def _assign(self, path, variables, arrays):
        found = [array.shape for array in arrays]
        expected = [tuple(variable.shape) for variable in variables]
        if found != expected:
            raise ValueError(
                f"{path} is of another model: its {len(found)} variables have not the number and "
                f"shapes of the {len(expected)} here. Take the settings it was trained with."
            )
        for variable, array in zip(variables, arrays, strict=True):
            if array.dtype.kind == "V":
                array = array.view(np.uint16).astype(np.uint32) << 16
                array = array.view(np.float32)
            variable.assign(array)

    def _path(self, step):
        return self.folder / f"step_{step:09}.npz"


def _to_numpy(variable):
    array = np.array(variable)
    # NumPy's files know no bfloat16: its bits are kept, as an opaque type of two bytes.
    return array.view("V2") if array.dtype.name == "bfloat16" else array
