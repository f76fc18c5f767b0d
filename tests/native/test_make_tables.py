"""The tables of characters in the repository are what make_tables makes."""

import importlib
import pathlib

import pytest

KERNELS = pathlib.Path(__file__).resolve().parents[2] / "tf_kernels"


def test_tables_are_those_that_make_tables_makes(monkeypatch):
    monkeypatch.syspath_prepend(KERNELS)
    make_tables = importlib.import_module("make_tables")
    if make_tables.problem():
        pytest.skip(make_tables.problem())
    for path, text in make_tables.files().items():
        assert path.read_text(encoding="ascii") == text, (
            f"{path} is not what make_tables makes: run it again, see CONTRIBUTING.md"
        )
