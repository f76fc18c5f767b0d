"""Fixtures shared by all tests."""

import os
import pathlib

import pytest

# The folders whose files take longest. Files are given to the processes in this order, so what is
# left at the end is short, and the processes end at about the same time.
LONG_FOLDERS = ("recipes", "training", "models", "native", "serving")


def pytest_collection_modifyitems(items):
    def place(item):
        folder = item.path.relative_to(pathlib.Path(__file__).parent).parts[0]
        return LONG_FOLDERS.index(folder) if folder in LONG_FOLDERS else len(LONG_FOLDERS)

    items.sort(key=place)


@pytest.fixture(scope="session")
def shared_data():
    """The folder with the real data sets, which are not part of the project."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("KERASLLM_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not here: {folder} (KERASLLM_DATA names their folder)")
    return folder
