"""The classification recipe as a user runs it."""

import json
import os
import re
import signal
import subprocess
import time

import PIL.Image
import pytest
from processes import run_python, start_python
from recipe_helpers import CLASSIFICATION, make_rows, read_table, write_table

from kerasllm import TextClassifier, native

OUTPUTS = {
    "checkpoints",
    "confusion_matrix.png",
    "errors.csv",
    "learning_curves.png",
    "metrics.json",
    "model.keras",
    "settings.json",
    "tensorboard",
    "text_pipeline.json",
    "vocabulary.txt",
}
EXPORTED = {"saved_model"} if native.in_use() else set()


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_run_leaves_everything_it_promises(finished_run, classification):
    folder, _ = finished_run
    assert set(os.listdir(folder)) == OUTPUTS | EXPORTED
    for name in OUTPUTS | EXPORTED:
        path = folder / name
        assert path.stat().st_size > 0
        if path.suffix == ".png":
            with PIL.Image.open(path) as picture:
                picture.verify()
        if name not in ("checkpoints", "settings.json"):
            assert name in classification.__doc__
    events = list((folder / "tensorboard").rglob("events.out.tfevents.*"))
    assert {event.parent.name for event in events} == {"tensorboard", "train", "validation"}
    words = (folder / "tensorboard" / "train" / "embedding_metadata.tsv").read_text("utf-8")
    assert "满意" in words


def test_metrics_and_errors_agree_with_each_other(finished_run):
    folder, _ = finished_run
    metrics, errors = read_json(folder / "metrics.json"), read_table(folder / "errors.csv")
    assert list(metrics) == ["valid", "test"]
    assert [metrics[part]["rows"] for part in metrics] == [48, 60]
    for report in metrics.values():
        per_class = report["per_class"]
        assert list(per_class) == sorted(["好评", "中评", "差评"])
        assert sum(values["rows"] for values in per_class.values()) == report["rows"]
        f1_values = [values["f1"] for values in per_class.values()]
        assert report["macro_f1"] == pytest.approx(sum(f1_values) / 3)
    test = metrics["test"]
    assert 0 < len(errors) < 30  # it learned, though some labels are wrong
    assert test["accuracy"] == pytest.approx(1 - len(errors) / 60)
    for label, values in test["per_class"].items():
        missed = sum(row["truth"] == label for row in errors)
        assert values["recall"] == pytest.approx(1 - missed / values["rows"])
    sureness = [float(row["probability"]) for row in errors]
    assert sureness == sorted(sureness, reverse=True)


def test_saved_model_gives_these_metrics_again(finished_run):
    folder, _ = finished_run
    classifier = TextClassifier.load(folder)
    rows = make_rows(60, seed=2)  # the test table
    predictions = classifier.predict([text for text, _ in rows])
    wrong = {
        (text, truth, label)
        for (text, truth), (label, _) in zip(rows, predictions, strict=True)
        if label != truth
    }
    errors = read_table(folder / "errors.csv")
    assert {(row["text"], row["truth"], row["prediction"]) for row in errors} == wrong
    accuracy = read_json(folder / "metrics.json")["test"]["accuracy"]
    assert accuracy == pytest.approx(1 - len(wrong) / 60)


def test_it_prints_reports_figures_and_samples(finished_run):
    folder, output = finished_run
    for table, rows in (("train", 150), ("valid", 48), ("test", 60)):
        assert re.search(rf"{table}\.csv: {rows} rows read, {rows} kept, 0 dropped", output)
    metrics = read_json(folder / "metrics.json")
    for part in ("valid", "test"):
        accuracy = f"{part:8}accuracy {metrics[part]['accuracy']:.4f}"
        assert accuracy in output
    samples = output[output.index("sample predictions") :]
    assert len(re.findall(r"\((?:right|wrong, it is ..)\): ", samples)) == 10
    assert str(folder / "tensorboard") in output


def test_history_has_every_epoch(finished_run):
    state = read_json(finished_run[0] / "checkpoints" / "state.json")
    assert state["finished_epochs"] == 4
    assert {len(values) for values in state["history"].values()} == {4}
    assert state["best"] == max(state["history"]["val_macro_f1"])


def test_run_killed_in_training_ends_like_the_unbroken_one(
    finished_run, run_arguments, tmp_path, classification
):
    unbroken, _ = finished_run
    folder = tmp_path / "killed"
    state = folder / "checkpoints" / "state.json"
    arguments = [*run_arguments, "--output-dir", str(folder)]
    process = start_python(
        CLASSIFICATION, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + 200
        while not state.is_file():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished_epochs = read_json(state)["finished_epochs"]
    assert 1 <= finished_epochs < 4
    assert not (folder / "metrics.json").exists()

    classification.main([*arguments, "--resume"])
    for name in ("metrics.json", "errors.csv", "checkpoints/state.json", "vocabulary.txt"):
        assert (folder / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert set(os.listdir(folder)) == OUTPUTS


def test_resuming_a_finished_run_trains_no_more(finished_run, run_arguments, classification):
    folder, _ = finished_run
    names = ("metrics.json", "errors.csv", "checkpoints/state.json")
    before = [(folder / name).read_bytes() for name in names]
    classification.main([*run_arguments, "--output-dir", str(folder), "--resume"])
    assert [(folder / name).read_bytes() for name in names] == before


def test_second_run_is_refused_in_a_sentence(finished_run, run_arguments):
    folder, _ = finished_run
    before = (folder / "settings.json").read_bytes()
    finished = run_python(CLASSIFICATION, *run_arguments, "--output-dir", folder, status=1)
    error = finished.stderr.strip().splitlines()[-1]
    assert error == (
        f"error: {folder} holds an earlier run. Add --resume to go on with it, or name another "
        "folder with --output-dir."
    )
    assert "Traceback" not in finished.stderr
    assert (folder / "settings.json").read_bytes() == before


def test_changed_settings_are_refused(finished_run, run_arguments, classification):
    folder, _ = finished_run
    changed = [*run_arguments, "--output-dir", str(folder), "--resume", "--learning-rate", "0.1"]
    with pytest.raises(ValueError, match=r"learning_rate was 0\.005 and is 0\.1"):
        classification.main(changed)


@pytest.fixture
def small(tmp_path):
    """A function that writes a table of few rows, and gives the arguments for a short run."""

    def write(rows, *options, **how):
        path = write_table(tmp_path / "train.csv", rows, **how)
        short = ["--epochs", "1", "--tokenizer", "char", "--output-dir", str(tmp_path / "run")]
        return ["--train", str(path), *short, *options]

    return write


def test_gbk_table_without_header_is_split_and_learned(small, tmp_path, classification, capsys):
    rows = [(str(number), label, text) for number, (text, label) in enumerate(make_rows(60, 5))]
    columns = ["--text-column", "2", "--label-column", "1"]
    reports = classification.main(small(rows, *columns, header=None, encoding="gbk"))
    output = capsys.readouterr().out
    assert "60 rows read, 60 kept" in output
    split = re.search(r"split: train (\d+) rows, valid (\d+) rows, test (\d+) rows", output)
    train, valid, test = map(int, split.groups())
    assert train + valid + test == 60 and min(valid, test) >= 4
    assert reports["test"]["rows"] == test
    assert list(reports["test"]["per_class"]) == sorted(["好评", "中评", "差评"])
    texts = {text for _, _, text in rows}
    errors = read_table(tmp_path / "run" / "errors.csv")
    assert {row["text"] for row in errors} <= texts
    assert len(errors) == round(test * (1 - reports["test"]["accuracy"]))


def test_transformer_is_trained_from_end_to_end(small, tmp_path, classification):
    """The embedding projector once knew no embedding but Keras's own, and ended the run."""
    reports = classification.main(small(make_rows(90, 5), "--model", "transformer"))
    assert set(os.listdir(tmp_path / "run")) == OUTPUTS
    assert set(reports) == {"valid", "test"}
    words = tmp_path / "run" / "tensorboard" / "train" / "embedding_metadata.tsv"
    assert "店" in words.read_text("utf-8")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([("好", "好评"), ("很好", "好评")], [], "only one class"),
        (make_rows(30, 1), ["--text-column", "review"], "should have the columns 'review'"),
        (make_rows(30, 1), ["--label-column", "2"], "columns"),
        (make_rows(30, 1), ["--train", "missing.csv"], r"missing\.csv does not exist"),
        (make_rows(3, 1), [], "too few"),
        ([], [], "no rows"),
    ],
)
def test_table_that_cannot_be_trained_on_is_refused_before_training(
    small, tmp_path, classification, rows, options, message
):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        classification.main(small(rows, *options))
    assert not (tmp_path / "run").exists()


def test_refused_run_does_not_stand_in_the_way_of_the_next(small, tmp_path, classification):
    """Its settings.json did."""
    with pytest.raises(ValueError, match="rate"):
        classification.main(small(make_rows(60, 5), "--dropout", "1.5"))
    classification.main(small(make_rows(60, 5), "--dropout", "0.5"))
    assert set(os.listdir(tmp_path / "run")) == OUTPUTS


@pytest.mark.parametrize("part", ["valid", "test"])
def test_label_without_training_rows_is_refused_before_training(
    small, tmp_path, classification, part
):
    """Of the test rows this once came out after the training only."""
    other = write_table(tmp_path / "other.csv", [("好", "好评"), ("棒", "极好")])
    with pytest.raises(ValueError, match=f"The {part} rows have labels .* has: 极好"):
        classification.main(small(make_rows(30, 1), f"--{part}", str(other)))
    assert not (tmp_path / "run").exists()


def test_other_tables_without_training_rows_are_refused(tmp_path, classification):
    """They were once left out in silence, and the built-in rows taken."""
    path = str(write_table(tmp_path / "test.csv", make_rows(30, 1)))
    with pytest.raises(ValueError, match="--valid and --test need --train"):
        classification.main(["--test", path, "--output-dir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--epochs", "--patience", "--batch-size", "--max-length"])
def test_numbers_below_one_are_refused(classification, capsys, option):
    with pytest.raises(SystemExit):
        classification.main([option, "0"])
    assert f"argument {option}: '0' should be a whole number from 1" in capsys.readouterr().err


def test_help_names_every_option(classification, capsys):
    with pytest.raises(SystemExit) as ended:
        classification.main(["--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert "python recipes/chinese_text_classification.py --train" in output
    for option in ("--valid", "--label-column", "--resume", "--output-dir", "--seed"):
        assert option in output
