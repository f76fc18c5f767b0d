"""How benchmarks measure and print; that a whole benchmark runs is a slow test."""

import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def measure(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import measure

    return measure


def test_functions_take_turns_and_warm_up_is_not_counted(measure):
    calls = []
    times = measure.interleave(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warmup=2
    )
    assert calls == ["a", "b"] * 5
    assert [len(values) for values in times.values()] == [3, 3]


def test_times_are_milliseconds(measure):
    times = measure.interleave({"sleep": lambda: time.sleep(0.02)}, repeats=3, warmup=0)
    assert all(19 < value < 200 for value in times["sleep"])


def test_the_ratio_is_the_baselines_median_over_ones_own(measure):
    times = {"stock": [30.0, 10.0, 20.0], "ours": [5.0, 4.0, 6.0]}
    dtypes = {"stock": "float32", "ours": "float32"}
    stock, ours = measure.rows("predict", "1 x 1", times, dtypes, "stock", flops=10e9)
    assert (stock.p50, stock.ratio) == (20.0, 1.0)
    assert (ours.p50, ours.ratio) == (5.0, 4.0)
    assert ours.gflops == 10 / 0.005
    assert "4.00" in measure.table([stock, ours]).splitlines()[-1]


@pytest.mark.slow
def test_the_lstm_benchmark_runs(tmp_path):
    path = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks", "lstm", "--quick", "--json", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600, capture_output=True)
    content = json.loads(path.read_text())
    assert {row["work"] for row in content["rows"]} == {"predict", "forward+backward", "train step"}
    assert content["machine"]["tensorflow"]


def test_reading_has_a_rate(measure):
    assert 0.1 < measure.read_bandwidth(size_bytes=1 << 24) < 10_000


@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_the_peak_is_that_of_the_block(measure):
    with measure.peak_of_this_process() as peak:
        np.ones(64 * 2**20, np.uint8)
    assert 60 < peak["megabytes"] < 80
