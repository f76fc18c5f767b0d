"""A training step of the transformer classifier on one long text, against stock Keras layers.

4 layers of width 256 with 4 heads, float32, without jit, texts of up to 16,384 tokens. Each side
has a process of its own, which may take nine tenths of the memory that is free: stock's matrices
of scores ask for more than that from some length on, which is said in place of a row.
"""

import json
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks import measure, transformer

WIDTH, HEADS, LAYERS = 256, 4, 4
LENGTHS = (2048, 4096, 8192, 16384)
STEPS = 4  # the first of them traces


def run(quick=False):
    for length in LENGTHS[:1] if quick else LENGTHS:
        yield measure_length(length)


def measure_length(length):
    rows, base = [], None
    flops = 3 * 2 * length * LAYERS * (12 * WIDTH * WIDTH + 2 * length * WIDTH)
    for who in ("stock", "ours"):
        result = train(who, length)
        if "error" in result:
            print(f"1 x {length}: {who} stops: {result['error']}", flush=True)
            continue
        p20, p50, p80 = np.percentile(result["milliseconds"], [20, 50, 80])
        base = base or (p50 if who == "stock" else None)
        rows.append(
            measure.Row(
                "train step",
                f"1 x {length}",
                who,
                "float32",
                p20,
                p50,
                p80,
                base and base / p50,
                flops / p50 / 1e6,
                peak_mb=result["megabytes"],
            )
        )
    return rows


def train(who, length):
    """A few steps in a process of its own.

    Args:
        who: `"stock"` or `"ours"`.
        length: Tokens of the text.

    Returns:
        `{"milliseconds": of each step behind the first, "losses": of each step, "megabytes": the
        peak above what was there before}`, or `{"error": why it stopped}`.
    """
    command = [sys.executable, "-m", "benchmarks.long_text", who, str(length)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return json.loads(result.stdout.splitlines()[-1])
    told = [
        line.strip()
        for line in result.stderr.splitlines()
        if "OOM when allocating" in line or "bad_alloc" in line
    ]
    if not told and result.returncode != -9:
        raise RuntimeError(result.stderr)
    return {"error": told[0][:200] if told else "killed for memory"}


def print_steps(who, length):
    free = next(
        int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemAvailable")
    )
    resource.setrlimit(resource.RLIMIT_DATA, (free * 1024 * 9 // 10,) * 2)
    import keras

    import kerasllm

    keras.utils.set_random_seed(1)
    build, optimizers = {
        "stock": (transformer.build_stock, keras.optimizers),
        "ours": (transformer.build_ours, kerasllm.optimizers),
    }[who]
    model = build(length, WIDTH, HEADS, LAYERS, "float32")
    transformer.compiled(model, optimizers, jit_compile=False)
    random = np.random.default_rng(0)
    tokens = random.integers(1, transformer.VOCABULARY, (1, length))
    model.train_on_batch(tokens[:, :2], np.zeros(1, "int32"))
    times, losses = [], []
    with measure.peak_of_this_process() as peak:
        for _ in range(STEPS):
            start = time.perf_counter()
            losses.append(float(model.train_on_batch(tokens, np.ones(1, "int32"))))
            times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"milliseconds": times[1:], "losses": losses, **peak}))


if __name__ == "__main__":
    print_steps(sys.argv[1], int(sys.argv[2]))
