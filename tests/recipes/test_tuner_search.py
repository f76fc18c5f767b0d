"""The search recipe as a user runs it."""

import csv
import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import keras
import pytest
from processes import PROJECT, start_python
from recipe_helpers import load_recipe, make_rows

from kerasllm import TextClassifier
from kerasllm.tuning.records import CHECKPOINT, TrialRecords

SEARCH = PROJECT / "recipes" / "tuner_search.py"
OUTPUTS = {"best.json", "best_model", "settings.json", "tensorboard", "trials", "trials.csv"}
TINY = {
    "units": [8, 12],
    "embedding_dim": 8,
    "num_layers": 1,
    "batch_size": [8, 16],
    "learning_rate": {"low": 0.003, "high": 0.02, "log": True},
    "second_pass": "none",
}


@pytest.fixture(scope="module")
def search():
    return load_recipe(SEARCH)


@pytest.fixture(scope="module")
def arguments(tables, tmp_path_factory):
    """A search of four trials."""
    space = tmp_path_factory.mktemp("space") / "space.json"
    space.write_text(json.dumps(TINY))
    options = ["--algorithm", "random", "--max-trials", "4", "--epochs", "3", "--confirm", "1"]
    return [*tables, "--space", str(space), *options, "--keep", "2"]


@pytest.fixture(scope="module")
def finished(search, arguments, tmp_path_factory):
    """The folder of an unbroken search, and the reports that the recipe returns."""
    folder = tmp_path_factory.mktemp("searches") / "unbroken"
    return folder, search.main([*arguments, "--output-dir", str(folder)])


def read_trials(folder):
    with open(folder / "trials.csv", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def outcome(folder):
    """What a search found, without what the clock says."""
    best = json.loads((folder / "best.json").read_text("utf-8"))
    best.pop("seconds")
    best["figures"].pop("seconds")
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in read_trials(folder)]
    return best, rows, (folder / "best_model" / "metrics.json").read_bytes()


def wait_for(condition, process, seconds=200):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


def test_search_leaves_everything_it_promises(finished, search):
    folder, reports = finished
    assert set(os.listdir(folder)) == OUTPUTS
    for name in OUTPUTS - {"settings.json"}:
        assert name in search.__doc__
    rows = read_trials(folder)
    assert [row["trial"] for row in rows] == ["0000", "0001", "0002", "0003"]
    assert {row["status"] for row in rows} == {"done"}
    assert rows[0]["units"] == "8" and rows[0]["tokenizer"] == "jieba"
    best = json.loads((folder / "best.json").read_text("utf-8"))
    finalists = sorted(float(row["valid_macro_f1"]) for row in rows)[1:]
    assert best["valid_macro_f1"] in finalists and len(best["scores"]) == 2
    assert "saw the training rows only" in best["judged"]
    metrics = json.loads((folder / "best_model" / "metrics.json").read_text("utf-8"))
    assert metrics == reports and list(metrics) == ["valid", "test"]
    assert metrics["valid"]["macro_f1"] == pytest.approx(best["valid_macro_f1"], abs=1e-6)
    assert len(list(folder.rglob(CHECKPOINT))) == 2


def test_best_model_is_loaded_and_gives_its_test_figures(finished):
    folder, reports = finished
    classifier = TextClassifier.load(folder / "best_model")
    rows = make_rows(60, seed=2)  # the test table
    predictions = classifier.predict([text for text, _ in rows])
    right = sum(label == truth for (_, truth), (label, _) in zip(rows, predictions, strict=True))
    assert right / 60 == pytest.approx(reports["test"]["accuracy"])
    left = {"confusion_matrix.png", "errors.csv", "learning_curves.png", "vocabulary.txt"}
    assert left <= set(os.listdir(folder / "best_model"))


def test_tensorboard_has_hyperparameters_and_the_best_epoch_of_each_trial(finished):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    import tensorflow as tf
    from tensorboard.plugins.hparams import metadata

    folder, rows = finished[0] / "tensorboard", read_trials(finished[0])
    assert sorted(os.listdir(folder)) == [row["trial"] for row in rows]
    for row in rows:
        events = accumulator.EventAccumulator(str(folder / row["trial"]))
        events.Reload()
        content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        hparams = metadata.parse_session_start_info_plugin_data(content).hparams
        assert hparams["units"].number_value == float(row["units"])
        assert hparams["tokenizer"].string_value == row["tokenizer"]
        best = tf.make_ndarray(events.Tensors("best/val_macro_f1")[-1].tensor_proto)
        assert float(best) == pytest.approx(float(row["valid_macro_f1"]), abs=1e-6)


@pytest.mark.slow  # tuning/test_oracles.py cuts searches short too, without trainings
def test_search_killed_in_a_trial_ends_like_the_unbroken_one(finished, arguments, search, tmp_path):
    folder = tmp_path / "killed"
    command = [*arguments, "--output-dir", str(folder)]
    process = start_python(SEARCH, *command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        wait_for((folder / "tensorboard" / "0001").is_dir, process)  # it is being trained
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [row["status"] for row in read_trials(folder)][:2] == ["done", "running"]
    search.main([*command, "--resume"])
    assert outcome(folder) == outcome(finished[0])
    assert set(os.listdir(folder)) == OUTPUTS


@pytest.mark.slow
def test_an_interrupted_search_keeps_what_it_found(
    finished, arguments, search, tmp_path, monkeypatch
):
    folder = tmp_path / "interrupted"
    command = [*arguments, "--output-dir", str(folder)]
    fit, calls = keras.Model.fit, []

    def interrupted(self, *args, **options):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(self, *args, **options)

    monkeypatch.setattr(keras.Model, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.main(command)
    monkeypatch.undo()
    assert [row["status"] for row in read_trials(folder)] == ["done", "running"]
    assert json.loads((folder / "best.json").read_text("utf-8"))["trial"] == "0000"
    search.main([*command, "--resume"])
    assert outcome(folder) == outcome(finished[0])


def test_a_full_disk_ends_the_search_in_a_sentence(arguments, search, tmp_path, monkeypatch):
    command = [*arguments, "--output-dir", str(tmp_path), "--max-trials", "1", "--no-retrain"]

    def full(self, *args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    for owner, name in ((keras.Model, "save_weights"), (TrialRecords, "write_table")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            with pytest.raises(OSError, match=r"disk is full\. What was found is kept; make room"):
                search.main([*command, "--resume"])
    search.main([*command, "--resume"])
    assert [row["status"] for row in read_trials(tmp_path)] == ["done"]


def test_a_damaged_checkpoint_and_record_are_made_again(
    finished, arguments, search, tmp_path, capsys
):
    folder = tmp_path / "damaged"
    shutil.copytree(finished[0], folder)
    best = json.loads((folder / "best.json").read_text("utf-8"))["trial"]
    checkpoint = folder / "trials" / f"trial_{best}" / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    (folder / "trials" / "trial_0000" / "record.json").write_text("{")
    search.main([*arguments, "--output-dir", str(folder), "--resume"])
    output = capsys.readouterr().out
    assert "record.json is damaged" in output and "is run again" in output
    assert outcome(folder) == outcome(finished[0])


def test_a_wrong_space_is_refused_before_anything_is_written(search, tmp_path):
    space, folder = tmp_path / "space.json", tmp_path / "run"
    space.write_text('{"unit": [8]}')
    with pytest.raises(
        ValueError, match="'unit' is no hyperparameter of embedding_lstm; there are"
    ):
        search.main(["--space", str(space), "--output-dir", str(folder)])
    assert not folder.exists()


def test_a_space_in_which_no_model_can_be_built_ends_in_a_sentence(search, tables, tmp_path):
    space = tmp_path / "space.json"
    space.write_text('{"num_heads": 3, "hidden_dim": [8, 16]}')
    command = [*tables[:4], "--model", "transformer", "--space", str(space), "--epochs", "1"]
    message = r"No trial ended well: 3 trials in a row failed, .* num_heads=3 does not divide"
    with pytest.raises(ValueError, match=message):
        search.main([*command, "--algorithm", "grid", "--output-dir", str(tmp_path / "run")])
    assert {row["status"] for row in read_trials(tmp_path / "run")} == {"failed"}


def children(process):
    """The processes that a process started."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if f"\nPPid:\t{process.pid}\n" in text:
            found.append(int(status.parent.name))
    return found


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_find_what_one_process_finds(
    finished, arguments, tmp_path
):
    folder = tmp_path / "workers"
    command = [*arguments, "--output-dir", str(folder), "--workers", "2"]
    process = start_python(SEARCH, *command, stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (folder / "trials" / "trial_0001" / "record.json").is_file(), process)
        os.kill(children(process)[0], signal.SIGKILL)
        output, _ = process.communicate(timeout=250)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0 and "its worker died (signal SIGKILL)" in output
    rows = [(row["trial"], row["status"], row["valid_macro_f1"]) for row in read_trials(folder)]
    expected = read_trials(finished[0])
    assert rows == [(row["trial"], "done", row["valid_macro_f1"]) for row in expected]


def test_budget_ends_inside_an_epoch_and_transformers_are_searched(search, tables, tmp_path):
    space = tmp_path / "space.json"
    space.write_text('{"hidden_dim": 8, "batch_size": 8, "num_layers": 1}')
    command = [*tables[:4], "--model", "transformer", "--space", str(space), "--budget", "0.1s"]
    search.main([*command, "--no-retrain", "--output-dir", str(tmp_path / "run")])
    (row,) = read_trials(tmp_path / "run")
    assert row["out_of_time"] == "True" and row["epochs"] == "1"
    assert (tmp_path / "run" / "best_model" / "model.keras").is_file()


def test_best_is_compared_with_the_default(search, arguments, tmp_path, capsys):
    one = ["--max-trials", "1", "--confirm", "0", "--no-retrain", "--compare-default", "1"]
    search.main([*arguments, *one, "--output-dir", str(tmp_path)])
    comparison = json.loads((tmp_path / "comparison.json").read_text("utf-8"))
    printed = capsys.readouterr().out
    for name in ("default", "best"):
        mean = comparison[name]["mean_valid_macro_f1"]
        assert mean == comparison[name]["runs"][0]["valid_macro_f1"]
        assert f"{name:8} macro F1 {mean:.4f}, 1 seeds" in printed


def test_settings_of_another_search_are_refused(finished, arguments, search):
    again = [*arguments, "--output-dir", str(finished[0])]
    with pytest.raises(FileExistsError, match="Add --resume"):
        search.main(again)
    with pytest.raises(ValueError, match="algorithm was 'random' and is 'grid'"):
        search.main([*again, "--resume", "--algorithm", "grid"])


@pytest.mark.parametrize("budget", ["30", "0m", "m", "1h-1m"])
def test_budgets_that_are_no_times_are_refused(search, capsys, budget):
    with pytest.raises(SystemExit):
        search.main(["--budget", budget])
    assert f"'{budget}' is no time; expected one such as" in capsys.readouterr().err
