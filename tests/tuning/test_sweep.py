"""The grid: its order, failures, kills; what is written about it."""

import csv
import json

import PIL.Image
import pytest

from kerasllm.tuning import REGULARIZERS, Cell, make_cells, run_sweep, treatment, write_sweep
from kerasllm.tuning.sweep_outputs import log_hparams

FIGURES = {
    "valid_accuracy": 0.8,
    "valid_macro_f1": 0.7,
    "train_accuracy": 0.9,
    "gap": 0.1,
    "best_epoch": 2,
    "epochs": 3,
    "seconds": 1.5,
}


def test_every_regulariser_has_strengths_that_it_takes():
    for name, (strengths, _) in REGULARIZERS.items():
        for strength in strengths:
            assert treatment(name, strength).members >= 1
    with pytest.raises(ValueError, match="'magic' is no regulariser; expected one of none, "):
        treatment("magic", 1.0)


def test_all_take_their_turn_with_one_seed_before_the_next():
    cells = make_cells(["fgm", "fgm"], [3, 5, 3], [0.5, 1])
    expected = [(name, strength) for name, strength in (("none", 0), ("fgm", 0.5), ("fgm", 1))]
    assert [(cell.seed, cell.regularizer, cell.strength) for cell in cells] == [
        (seed, *one) for seed in (3, 5) for one in expected
    ]
    assert cells[1].name == "fgm_0.5_seed_3"
    with pytest.raises(ValueError, match="is no regulariser"):
        make_cells(["magic"], [0])
    with pytest.raises(ValueError, match="rate is 2"):
        make_cells(["word_dropout"], [0], [2.0])


def test_a_failing_cell_is_recorded_and_the_rest_runs(tmp_path):
    cells = make_cells(["fgm", "mixup"], [0], [0.2, 1.0])
    trained, lines = [], []

    def train(cell):
        trained.append(cell)
        if cell.regularizer == "fgm":
            raise RuntimeError("out of luck\nand more")
        return dict(FIGURES)

    results = run_sweep(cells, train, tmp_path, lines.append)
    assert trained == cells
    failed = [result for result in results if result["status"] == "failed"]
    assert {result["regularizer"] for result in failed} == {"fgm"}
    assert failed[0]["reason"] == "RuntimeError: out of luck\nand more"
    assert sum("failed, RuntimeError: out of luck" in line for line in lines) == len(failed) == 2

    trained.clear()
    run_sweep(cells, lambda cell: trained.append(cell) or dict(FIGURES), tmp_path, lines.append)
    assert {cell.regularizer for cell in trained} == {"fgm"}  # tried again, the others not


def test_a_kill_loses_the_cell_at_work_only(tmp_path):
    cells = make_cells(["mixup"], [0, 1], [0.2, 1.0])
    trained = []

    def train(cell):
        if len(trained) == 3:
            raise KeyboardInterrupt  # as little caught as a kill
        trained.append(cell)
        return {**FIGURES, "valid_accuracy": cell.strength}

    with pytest.raises(KeyboardInterrupt):
        run_sweep(cells, train, tmp_path, str)
    before, trained = trained, []
    results = run_sweep(cells, train, tmp_path, str)
    assert before + trained == cells
    assert [result["valid_accuracy"] for result in results] == [cell.strength for cell in cells]
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        run_sweep(cells, train, tmp_path, str)


def test_what_is_written(tmp_path):
    def train(cell):
        if cell.strength == 1.0 and cell.seed:
            raise ValueError("no, 谢谢")
        return dict(FIGURES)

    cells = make_cells(["mixup"], [0, 1], [0.2, 1.0])
    results = run_sweep(cells, train, tmp_path, str)
    summary = write_sweep(tmp_path, results)
    with open(tmp_path / "sweep.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done"] * 5 + ["failed"]
    assert float(rows[0]["valid_macro_f1"]) == 0.7 and rows[5]["reason"] == "ValueError: no, 谢谢"
    content = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    assert content["results"] == results
    assert [row["seeds"] for row in content["summary"]] == [row["seeds"] for row in summary]
    assert [row["seeds"] for row in summary] == [2, 2, 1]
    with PIL.Image.open(tmp_path / "sweep.png") as picture:
        picture.verify()
    assert run_sweep(cells[:5], None, tmp_path, str) == results[:5]  # the file still resumes


def test_hparams_show_the_best_epoch_and_not_the_last(tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    from tensorboard.plugins.hparams import metadata

    cell = Cell("mixup", 0.2, 1)
    for _ in range(2):  # the second time replaces the first
        log_hparams(tmp_path, cell, FIGURES, {"val_accuracy": [0.5, 0.8, 0.6]})
    events = event_accumulator.EventAccumulator(str(tmp_path / cell.name))
    events.Reload()
    best = events.Tensors("best/valid_accuracy")
    assert [event.step for event in best] == [2]
    assert len(events.Tensors("epoch/val_accuracy")) == 3
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    assert hparams["regularizer"].string_value == "mixup"
    assert hparams["strength"].number_value == 0.2
