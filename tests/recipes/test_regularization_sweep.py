"""The sweep recipe as a user runs it."""

import json
import os
import signal
import subprocess
import time

import pytest
from processes import PROJECT, start_python
from recipe_helpers import load_recipe, read_table

SWEEP = PROJECT / "recipes" / "regularization_sweep.py"
OUTPUTS = {"settings.json", "sweep.csv", "sweep.json", "sweep.png", "tensorboard"}


@pytest.fixture(scope="module")
def sweep():
    return load_recipe(SWEEP)


@pytest.fixture(scope="module")
def arguments(tables):
    """A sweep of three trainings, the last of which fails."""
    names = ["--regularizers", "word_dropout", "gradient_penalty", "--strengths", "0.3"]
    size = ["--embedding-dim", "8", "--units", "8", "--epochs", "2", "--tokenizer", "char"]
    rows = ["--train-rows", "60", "--seeds", "4", "--dtype-policy", "mixed_bfloat16"]
    return [*tables[:4], *names, *size, *rows]


@pytest.fixture(scope="module")
def finished_sweep(sweep, arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps") / "unbroken"
    return folder, sweep.main([*arguments, "--output-dir", str(folder)])


def figures(folder):
    """The lines of `sweep.csv` without the seconds."""
    rows = read_table(folder / "sweep.csv")
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_sweep_leaves_everything_it_promises(finished_sweep, sweep):
    folder, summary = finished_sweep
    assert set(os.listdir(folder)) == OUTPUTS
    for name in OUTPUTS - {"settings.json"}:
        assert name in sweep.__doc__
    rows = read_table(folder / "sweep.csv")
    assert [row["regularizer"] for row in rows] == ["none", "word_dropout", "gradient_penalty"]
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    assert "bfloat16 is too coarse" in rows[2]["reason"]
    assert 0 < float(rows[0]["valid_accuracy"]) <= 1
    gap = float(rows[0]["train_accuracy"]) - float(rows[0]["valid_accuracy"])
    assert float(rows[0]["gap"]) == pytest.approx(gap)
    assert [row["failed"] for row in summary] == [0, 0, 1]
    events = list((folder / "tensorboard").rglob("events.out.tfevents.*"))
    assert {event.parent.name for event in events} == {"none_0_seed_4", "word_dropout_0.3_seed_4"}


def test_sweep_killed_in_a_training_ends_like_the_unbroken_one(
    finished_sweep, arguments, sweep, tmp_path
):
    folder = tmp_path / "killed"
    killed = [*arguments, "--output-dir", str(folder)]
    process = start_python(SWEEP, *killed, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 200
        while not (folder / "sweep.json").is_file():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    results = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["results"]
    assert len(results) < 3
    sweep.main([*killed, "--resume"])
    assert figures(folder) == figures(finished_sweep[0])
    assert set(os.listdir(folder)) == OUTPUTS


def test_a_sweep_is_not_resumed_with_other_settings(finished_sweep, arguments, sweep):
    again = [*arguments, "--output-dir", str(finished_sweep[0])]
    with pytest.raises(FileExistsError, match="Add --resume"):
        sweep.main(again)
    with pytest.raises(ValueError, match="units was 8 and is 9"):
        sweep.main([*again, "--resume", "--units", "9"])


def test_tables_and_names_that_do_not_fit_are_refused(sweep, tables, tmp_path, capsys):
    output = ["--output-dir", str(tmp_path / "run")]
    with pytest.raises(ValueError, match="--valid needs --train"):
        sweep.main([*tables[2:4], *output])
    with pytest.raises(ValueError, match="rate is 1"):
        sweep.main(["--regularizers", "word_dropout", "--strengths", "1.5", *output])
    with pytest.raises(SystemExit):
        sweep.main(["--regularizers", "magic", *output])
    assert "invalid choice: 'magic'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
