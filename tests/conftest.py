"""Fixtures shared by all tests."""

import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def shared_data():
    """The folder with the real data sets, which are not part of the project."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("KERASLLM_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not here: {folder} (KERASLLM_DATA names their folder)")
    return folder
