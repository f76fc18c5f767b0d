"""The benchmark runs on the emulated kernels, so that it runs where there is a GPU."""

import pathlib
import subprocess
import sys

import pytest
import torch

from benchmarks import cuda
from benchmarks.cuda import families, timing
from benchmarks.cuda.bench import Bench

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_every_family_is_checked_and_timed(kernels):
    timer = timing.Timer(kernels.device, repeats=6, warmup=1)
    bench = Bench(kernels, timer, copy_gbytes=1.0, compiled=False)
    families.layer_norm(bench, 20, 64, torch.float32)
    families.gelu(bench, 20, 64, torch.bfloat16)
    families.embedding(bench, 2, 9, 16, 30)
    families.adamw(bench, 3, 100)
    families.lstm(bench, 3, 5, 16, torch.float32)
    families.attention(bench, 1, 16, 2, 16, True, torch.bfloat16)
    families.decode_attention(bench, 2, 32, 4, 2, 16, torch.bfloat16)
    families.linear_cross_entropy(bench, 12, 16, 300)
    text = timing.table(bench.rows)
    assert "of peak" in text
    for work in (
        "attention backward",
        "decode attention",
        "vocabulary loss, step",
        "residual + norm forward",
        "bias + GELU (tanh) backward",
        "embedding",
        "adamw",
        "lstm forward",
        "lstm backward",
    ):
        assert work in text
    assert all(row.p20 <= row.p50 <= row.p80 for row in bench.rows)


def test_a_family_that_fails_loses_no_other():
    class Bench:
        rows = ()

    def works(bench, name):
        bench.rows.append(name)

    def fails(bench, name):
        bench.rows.append("begun")
        raise AssertionError("differs by 7")

    batches = cuda._one_by_one(Bench(), [(works, "a"), (fails, "b"), (works, "c")])
    assert [next(batches) for _ in range(3)] == [["a"], ["begun"], ["c"]]
    with pytest.raises(SystemExit, match=r"fails \['b'\]: differs by 7"):
        next(batches)


def test_without_a_gpu_it_says_so_and_imports_no_tensorflow():
    code = (
        "import sys, runpy; sys.argv = ['benchmarks', 'cuda', '--quick']\n"
        "import torch; torch.cuda.is_available = lambda: False\n"
        "try: runpy.run_module('benchmarks', run_name='__main__')\n"
        "except SystemExit as end: print(end)\n"
        "print(sorted({'tensorflow', 'keras', 'kerasllm'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert "there is no GPU here" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("[]")
