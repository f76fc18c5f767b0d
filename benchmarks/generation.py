"""Decoding with GPT-2's shape, against KerasHub on TensorFlow and transformers on PyTorch.

All have the same random weights and go on greedily from the same prompts; in float32 their tokens
are compared first. Each system is a process of its own, which waits while another is measured, and
the rounds are interleaved: in one process the threads of one would disturb the other's. A time is
that of a token: the whole call for prompts of 128 tokens and 128 new ones, divided by 128. `step`
is ours for a token at position 128 and at 1,000, by which the time should hardly grow. GB/s is what
reading all weights once for a token comes to; the machine's rate of reading is printed, as no
system can be faster than that. Needs keras-hub, torch and transformers (extras of the tests).
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np

from benchmarks import measure
from benchmarks.generation_systems import NEW, PROMPT, SYSTEMS
from kerasllm.models import CausalLM

BATCHES = (1, 8)
DTYPES = {"float32": 4, "bfloat16": 2}  # and the bytes of a weight
QUICK = {"vocabulary_size": 1000, "hidden_dim": 64, "num_layers": 2, "num_heads": 2}


def save_model(folder, quick):
    """Writes the model with random weights; returns the number of those."""
    keras.utils.set_random_seed(0)
    sizes = {"max_length": 1024, **(QUICK if quick else {})}
    model = CausalLM.from_preset("gpt2" if quick else "gpt2_124m", **sizes)
    # Weights of some size, so that the likeliest token leads by more than rounding.
    for weight in model.weights:
        if len(weight.shape) == 2:
            weight.assign(weight * 3.0)
    model.save_pretrained(folder)
    return model.count_params()


class Worker:
    """A process of `benchmarks.generation_systems`."""

    def __init__(self, who, dtype, folder):
        self.errors = tempfile.TemporaryFile("w+")
        command = [sys.executable, "-m", "benchmarks.generation_systems", who, dtype, folder]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def ask(self, work, batch):
        with contextlib.suppress(BrokenPipeError):
            print(work, batch, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            self.errors.seek(0)
            raise RuntimeError(f"{self.process.args[-3]} failed: {self.errors.read()[-2000:]}")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close(), self.errors.close()


def measure_dtype(dtype, folder, size_bytes, rounds):
    workers, rows, expected = {}, [], None
    try:
        for who in SYSTEMS:
            workers[who] = Worker(who, dtype, folder)
            # One after the other: this loads the model, and compiles.
            tokens = {batch: workers[who].ask("tokens", batch) for batch in BATCHES}
            expected = expected or tokens
            if dtype == "float32" and tokens != expected:
                raise AssertionError(f"{who}'s greedy tokens are not {next(iter(workers))}'s")
        for batch in BATCHES:
            times = {who: [] for who in workers}
            for _ in range(rounds):
                for who, worker in workers.items():
                    time.sleep(0.1)
                    times[who].append(worker.ask("time", batch) / NEW)
            baseline = min(times.keys() - {"ours"}, key=lambda who: np.median(times[who]))
            shape = f"{batch} x {PROMPT} + {NEW}"
            dtypes = dict.fromkeys(times, dtype)
            rows += measure.rows(
                "generate a token", shape, times, dtypes, baseline, size_bytes=size_bytes
            )
            for who, values in times.items():
                rate = batch / np.median(values) * 1e3
                print(f"{who:14} {dtype:9} batch {batch}: {rate:,.0f} tokens/s")
            times = {f"ours @{at}": ms for at, ms in workers["ours"].ask("step", batch).items()}
            dtypes, first_position = dict.fromkeys(times, dtype), next(iter(times))
            rows += measure.rows(
                "step", f"batch {batch}", times, dtypes, first_position, size_bytes=size_bytes
            )
    finally:
        for worker in workers.values():
            worker.close()
    return rows


def run(quick=False):
    print(f"memory gives {measure.read_bandwidth():.0f} GB/s to {os.cpu_count()} cores that read")
    with tempfile.TemporaryDirectory() as folder:
        num_weights = save_model(folder, quick)
        for dtype, size in DTYPES.items():
            yield measure_dtype(dtype, folder, num_weights * size, rounds=3 if quick else 5)
