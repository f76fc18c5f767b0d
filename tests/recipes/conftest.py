"""Fixtures of the recipes' tests: the recipes as modules, small tables, and one finished run."""

import pytest
from processes import run_python
from recipe_helpers import CLASSIFICATION, PREDICT, load_recipe, make_rows, write_table

from kerasllm import native


@pytest.fixture(scope="session")
def classification():
    return load_recipe(CLASSIFICATION)


@pytest.fixture(scope="session")
def predict():
    return load_recipe(PREDICT)


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """The command-line arguments that name tables of 150, 48 and 60 rows."""
    folder = tmp_path_factory.mktemp("tables")
    arguments = []
    for seed, (part, count) in enumerate({"train": 150, "valid": 48, "test": 60}.items()):
        path = write_table(folder / f"{part}.csv", make_rows(count, seed))
        arguments += [f"--{part}", str(path)]
    return arguments


@pytest.fixture(scope="session")
def run_arguments(tables):
    """All arguments of the runs that are compared, but for the folder."""
    options = ["--epochs", "4", "--patience", "4", "--batch-size", "8", "--learning-rate", "0.005"]
    return [*tables, *options, "--class-weights", "balanced"]


@pytest.fixture(scope="session")
def finished_run(run_arguments, tmp_path_factory):
    """The folder of a run from start to end in a process of its own, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    export = ["--export"] if native.in_use() else []
    finished = run_python(CLASSIFICATION, *run_arguments, "--output-dir", folder, *export)
    return folder, finished.stdout
