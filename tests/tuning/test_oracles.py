"""The memory of a search: kills, damage, failures, budgets. Trials are a formula here."""

import csv
import time

import pytest
from search_helpers import finish, result_of, run, start, take

from kerasllm.tuning import ALGORITHMS, SearchSpace
from kerasllm.tuning.budget import Budget
from kerasllm.tuning.records import CHECKPOINT, TrialRecords


def contents(folder):
    """All records without what depends on the clock."""
    records = TrialRecords(folder)
    assert records.load() == []
    for record in records.all.values():
        record.pop("elapsed")
    return records.all


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_first_trial_has_the_default_values(tmp_path, algorithm):
    oracle, _ = start(tmp_path, algorithm)
    _, values = take(oracle)
    space = SearchSpace("embedding_lstm", {"units": [8], "optimizer": "adam"})
    assert {k: v for k, v in values.items() if "/" not in k} == space.defaults()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("killed_after", [1, 4, 8])
def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path, algorithm, killed_after):
    unbroken, _ = start(tmp_path / "unbroken", algorithm)
    expected = run(unbroken)
    assert len(expected) == 12 and len({str(values) for _, values in expected}) == 12
    killed, _ = start(tmp_path / "killed", algorithm)
    before = run(killed, stop_after=killed_after)
    take(killed)  # and is killed in this one
    again, problems = start(tmp_path / "killed", algorithm)
    assert problems == []
    assert before + run(again) == expected
    assert contents(tmp_path / "killed") == contents(tmp_path / "unbroken")


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband"])
def test_a_search_of_two_workers_goes_on_with_the_values_it_was_at(tmp_path, algorithm):
    first, _ = start(tmp_path, algorithm)
    (one, one_values), (two, two_values) = take(first, "a"), take(first, "b")
    finish(first, one, result_of(one_values))
    three, three_values = take(first, "a")
    finish(first, two, result_of(two_values))
    four, four_values = take(first, "b")
    again, _ = start(tmp_path, algorithm)
    found = [take(again, "c"), take(again, "d")]
    assert [(trial.trial_id, values) for trial, values in found] == [
        (three.trial_id, three_values),
        (four.trial_id, four_values),
    ]
    for trial, values in reversed(found):
        finish(again, trial, result_of(values))
    run(again, 1)
    last, _ = start(tmp_path, algorithm)  # and it can go on once more
    assert len(last.end_order) == 5 and not last._known


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_damaged_record_costs_that_trial_alone(tmp_path, algorithm):
    oracle, _ = start(tmp_path, algorithm)
    expected = run(oracle)
    path = tmp_path / "trials" / "trial_0003" / "record.json"
    path.write_bytes(path.read_bytes()[:200])
    again, problems = start(tmp_path, algorithm)
    assert len(problems) == 1 and "trial_0003" in problems[0] and "is run again" in problems[0]
    assert run(again) == [expected[3]]
    records = TrialRecords(tmp_path)
    assert records.load() == [] and len(records.done()) == 12


def test_what_does_not_fit_any_more_is_kept(tmp_path):
    oracle, _ = start(tmp_path, "random")
    run(oracle, 5)
    other, _ = start(tmp_path, "random", seed=8, limit=6)
    run(other)
    records = TrialRecords(tmp_path)
    assert records.load() == []
    # The default values are the same for every seed; of the four others nothing is lost.
    assert len(records.done()) == 6 + 4
    assert sum(trial.endswith("_before") for trial in records.all) == 4


def test_more_trials_can_be_asked_for(tmp_path):
    few, _ = start(tmp_path / "few", "hyperband", limit=4)
    before = run(few)
    more, _ = start(tmp_path / "few", "hyperband", limit=9)
    whole, _ = start(tmp_path / "whole", "hyperband", limit=9)
    assert before + run(more) == run(whole)


def test_a_failed_trial_is_recorded_and_tried_once_more(tmp_path):
    lines, tries = [], []

    def evaluate(values):
        tries.append(values)
        if len(tries) in (2, 4, 5):
            return {"reason": "ValueError: no luck\nand more"}
        return result_of(values)

    oracle, _ = start(tmp_path, "random", lines.append, limit=4)
    run(oracle, evaluate=evaluate)
    assert tries[1] == tries[2] and tries[3] == tries[4]  # 0001 did well the second time
    records = TrialRecords(tmp_path)
    records.load()
    statuses = [record["status"] for record in records.all.values()]
    assert statuses == ["done", "done", "failed", "done"]
    assert [attempt[2] for attempt in records.all["0002"]["attempts"]] == ["failed", "failed"]
    assert lines[0] == "trial 0000 begins: the default values"
    assert "failed, tried once more: ValueError: no luck; best" in lines[3]
    with open(tmp_path / "trials.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[2]["reason"] == "ValueError: no luck\nand more" and rows[2]["attempts"] == "2"
    assert rows[2]["status"] == "failed" and rows[2]["valid_macro_f1"] == ""
    assert float(rows[3]["learning_rate"]) == records.all["0003"]["values"]["learning_rate"]
    again, _ = start(tmp_path, "random", limit=5)
    assert len(run(again)) == 1


def test_a_search_whose_trials_all_fail_stops_with_the_reason(tmp_path):
    oracle, _ = start(tmp_path, "bayesian")
    tried = run(oracle, evaluate=lambda values: {"reason": "ValueError: units is 0"})
    assert len(tried) == 6
    assert oracle.stop_reason == "3 trials in a row failed, the last with ValueError: units is 0"


def test_the_budget_ends_the_search_but_leaves_one_trial(tmp_path):
    oracle, _ = start(tmp_path, "random", budget=Budget(60, used=61))
    trial, _ = take(oracle)
    assert '"seconds": 0.0' in str(trial.hyperparameters.values)
    finish(oracle, trial, result_of({"dropout": 0.5, "units": 8}))
    assert take(oracle)[0].status == "STOPPED" and oracle.stop_reason == "the time is over"
    reserved, _ = start(tmp_path / "other", "random", budget=Budget(60), reserve=lambda: 59.9)
    assert len(run(reserved, evaluate=lambda values: time.sleep(0.11) or result_of(values))) == 1


def test_only_the_best_checkpoints_stay(tmp_path):
    oracle, _ = start(tmp_path, "random", keep=2)

    def evaluate(values):
        folder = oracle.records.trial_folder(f"{len(oracle.end_order):04}")
        (folder / CHECKPOINT).write_bytes(b"x" * 1000)
        return result_of(values)

    run(oracle, evaluate=evaluate)
    assert oracle.disk == (2, 2000)
    left = {path.parent.name for path in tmp_path.rglob(CHECKPOINT)}
    best = oracle.records.done()[:2]
    assert left == {f"trial_{record['trial']}" for record in best}


def test_a_late_answer_of_a_worker_that_was_given_up_is_ignored(tmp_path):
    oracle, _ = start(tmp_path, "random")
    trial, values = take(oracle, "lost")
    assert oracle.lose("lost", "its worker died (signal SIGKILL)")
    assert not oracle.lose("unknown", "it never was")
    again, same = take(oracle, "other")
    assert (again.trial_id, same) == (trial.trial_id, values)
    finish(oracle, again, result_of(values))
    finish(oracle, trial, {"reason": "late"})
    assert contents(tmp_path)["0000"]["status"] == "done"


def test_last_trial_of_a_worker_that_died_was_once_left_undone(tmp_path):
    """Another worker had been sent home, as all trials had begun."""
    oracle, _ = start(tmp_path, "random", limit=2)
    (one, values), _ = take(oracle, "a"), take(oracle, "b")
    finish(oracle, one, result_of(values))
    assert take(oracle, "a")[0].status == "IDLE" and oracle.stop_reason is None
    oracle.lose("b", "its worker died (signal SIGKILL)")
    again, values = take(oracle, "a")
    assert again.trial_id == "0001"
    finish(oracle, again, result_of(values))
    assert take(oracle, "a")[0].status == "STOPPED"
    assert [record["status"] for record in contents(tmp_path).values()] == ["done"] * 2
