"""The chief and its workers as processes; the trials are a formula, and some kill their worker."""

import pathlib
import sys
import threading
import time

import pytest
from search_helpers import finish, result_of, start, take

from kerasllm.tuning import worker_address
from kerasllm.tuning.chief import LocalWorkers, serve
from kerasllm.tuning.records import TrialRecords

WORKER = """
import json, os, signal, sys, time
from keras_tuner.src.distribute.oracle_client import OracleClient
from kerasllm.tuning.oracles import ORDER, RESULT, message
sys.path.insert(0, sys.argv[1])
from search_helpers import result_of

oracle = OracleClient(None)
while True:
    trial = oracle.create_trial(oracle.tuner_id)
    if trial.status == "STOPPED":
        break
    values = json.loads(trial.hyperparameters.values[ORDER])["values"]
    if trial.trial_id in sys.argv[3:]:
        mark = os.path.join(sys.argv[2], trial.trial_id)
        if not os.path.exists(mark) or "again" in sys.argv:
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
    oracle.end_trial(message(trial, RESULT, result_of(values)))
"""


def workers(tmp_path, count, *arguments):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    tests = pathlib.Path(__file__).resolve().parents[1]
    command = [sys.executable, str(script), str(tests), str(tmp_path), *arguments]
    return LocalWorkers(command, count, tmp_path / "logs")


def records_of(folder):
    records = TrialRecords(folder)
    assert records.load() == []
    return records.all


def test_a_worker_killed_in_a_trial_does_not_hang_the_chief(tmp_path):
    oracle, _ = start(tmp_path / "search", "random", limit=6)
    lines = []
    serve(oracle, ("127.0.0.1", 0), workers(tmp_path, 2, "0001"), report=lines.append)
    records = records_of(tmp_path / "search")
    assert [record["status"] for record in records.values()] == ["done"] * 6
    first, second = records["0001"]["attempts"]
    assert first[2:] == ["failed", "its worker died (signal SIGKILL)"] and second[2] == "done"
    assert any("died at a trial" in line for line in lines)
    for record in records.values():  # and nothing was rounded on the way
        assert record["figures"] == {
            name: value for name, value in result_of(record["values"]).items() if name != "history"
        }


def test_a_trial_that_kills_its_workers_is_given_up(tmp_path):
    oracle, _ = start(tmp_path / "search", "random", limit=3)
    serve(oracle, ("127.0.0.1", 0), workers(tmp_path, 1, "0001", "again"), report=str)
    records = records_of(tmp_path / "search")
    assert [record["status"] for record in records.values()] == ["done", "failed", "done"]


def test_workers_that_cannot_start_end_the_search_with_their_last_words(tmp_path):
    oracle, _ = start(tmp_path / "search", "random")
    broken = LocalWorkers([sys.executable, "-c", "raise ValueError('no data')"], 1, tmp_path)
    with pytest.raises(RuntimeError, match=r"All workers died.*exit status 1, ValueError: no data"):
        serve(oracle, ("127.0.0.1", 0), broken, report=str)


def test_a_worker_elsewhere_that_falls_silent_is_given_up(tmp_path):
    oracle, _ = start(tmp_path, "random", limit=1)
    trial, _ = take(oracle, "far away")
    lines = []
    chief = threading.Thread(
        target=serve,
        args=(oracle, ("127.0.0.1", 0)),
        kwargs={"lease_seconds": 0.5, "report": lines.append},
    )
    chief.start()
    deadline = time.monotonic() + 20
    while oracle.ongoing_trials:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "far away has been silent for" in lines[0]
    again, values = take(oracle, "near")
    assert again.trial_id == trial.trial_id
    finish(oracle, again, result_of(values))
    assert take(oracle, "near")[0].status == "STOPPED"
    chief.join(20)
    assert not chief.is_alive()


def test_an_address_that_is_taken_is_a_sentence(tmp_path):
    oracle, _ = start(tmp_path, "random")
    with pytest.raises(OSError, match=r"cannot listen at 203\.0\.113\.1:7777"):
        serve(oracle, ("203.0.113.1", 7777), report=str)


def test_keras_tuners_variables_are_read(monkeypatch):
    names = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert worker_address() is None
    monkeypatch.setenv(names[0], "chief")
    with pytest.raises(ValueError, match="not set: KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT"):
        worker_address()
    monkeypatch.setenv(names[1], "10.0.0.1")
    monkeypatch.setenv(names[2], "many")
    with pytest.raises(ValueError, match="'many'; expected a number"):
        worker_address()
    monkeypatch.setenv(names[2], "8000")
    assert worker_address() == ("chief", "10.0.0.1", 8000)
