"""How benchmarks measure: interleaved, in one process, medians, equality checked by the caller.

Machines are shared and noisy: a time can be off by two for seconds. What is interleaved is off by
the same, so ratios hold where times do not.
"""

import concurrent.futures
import contextlib
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np


@dataclass
class Row:
    """One measurement: `p20`, `p50` and `p80` are milliseconds over the repeats."""

    work: str
    shape: str
    who: str
    dtype: str
    p20: float
    p50: float
    p80: float
    ratio: float | None = None  # the baseline's median over this one's
    gflops: float | None = None  # arithmetic done per second
    gbytes: float | None = None  # memory that must be read and written, per second
    peak_mb: float | None = None  # the process's largest memory above what it had before


# Thread pools spin for a while after their last task. Without a pause that steals a core from
# whoever comes next, and there are several pools here: TensorFlow's, XLA's, oneDNN's.
PAUSE_SECONDS = 0.01


def interleave(functions, repeats=15, warmup=3):
    """Calls each function once a round, from rest, and returns its times in milliseconds.

    Args:
        functions: dict of name -> function without arguments that returns when its work is done.
        repeats: Rounds measured.
        warmup: Rounds before, not measured: tracing, allocation, caches.

    Returns:
        dict of name -> list of milliseconds.
    """
    times = {name: [] for name in functions}
    for round_index in range(warmup + repeats):
        for name, function in functions.items():
            time.sleep(PAUSE_SECONDS)
            start = time.perf_counter()
            function()
            elapsed = time.perf_counter() - start
            if round_index >= warmup:
                times[name].append(elapsed * 1e3)
    return times


def interleave_calls(functions, calls, repeats=15):
    """`interleave` of short functions: so many calls of one in a row, milliseconds for each."""

    def repeated(function):
        def run():
            for _ in range(calls):
                function()

        return run

    times = interleave({name: repeated(function) for name, function in functions.items()}, repeats)
    return {name: [time / calls for time in values] for name, values in times.items()}


def on_cores(count, function):
    """The function, called with all threads of this process on so many cores (Linux)."""

    def place(cores):
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread), cores)

    def call():
        every = os.sched_getaffinity(0)
        place(sorted(every)[:count])
        try:
            return function()
        finally:
            place(every)

    return call


def rows(work, shape, times, dtypes, baseline, flops=None, size_bytes=None):
    """One `Row` for each name in `times`, with its ratio to `baseline`'s median."""
    base = statistics.median(times[baseline])
    result = []
    for who, values in times.items():
        p20, p50, p80 = np.percentile(values, [20, 50, 80])
        gflops = flops / p50 / 1e6 if flops else None
        gbytes = size_bytes / p50 / 1e6 if size_bytes else None
        result.append(Row(work, shape, who, dtypes[who], p20, p50, p80, base / p50, gflops, gbytes))
    return result


def table(rows, header=True):
    """The rows as text, a blank line between two kinds of work."""
    lines = [""]
    if header:
        lines = [
            f"{'work':16} {'shape':22} {'who':18} {'dtype':15} {'p20':>8} {'p50':>8} {'p80':>8} "
            f"{'ratio':>6} {'GFLOP/s':>8} {'GB/s':>6} {'peak MB':>8}"
        ]
    before = None
    for row in rows:
        if before not in (None, (row.work, row.shape)):
            lines.append("")
        before = (row.work, row.shape)

        def cell(value, width, digits):
            return " " * (width - 1) + "-" if value is None else f"{value:{width}.{digits}f}"

        lines.append(
            f"{row.work:16} {row.shape:22} {row.who:18} {row.dtype:15} {row.p20:8.2f} "
            f"{row.p50:8.2f} {row.p80:8.2f} {cell(row.ratio, 6, 2)} {cell(row.gflops, 8, 0)} "
            f"{cell(row.gbytes, 6, 1)} {cell(row.peak_mb, 8, 0)}"
        )
    return "\n".join(lines)


def copy_bandwidth(size_bytes=128 << 20):
    """Gigabytes per second, read and written, of a copy by all cores of more than caches hold."""
    source, target = np.ones(size_bytes, "uint8"), np.ones(size_bytes, "uint8")
    workers = os.cpu_count()
    parts = list(zip(np.array_split(target, workers), np.array_split(source, workers), strict=True))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        times = interleave({"copy": lambda: list(pool.map(lambda part: np.copyto(*part), parts))})
    return 2 * size_bytes / statistics.median(times["copy"]) / 1e6


def read_bandwidth(size_bytes=512 << 20):
    """Gigabytes per second of reading by all cores of more than caches hold."""
    source, workers = np.ones(size_bytes // 4, "float32"), os.cpu_count()
    parts = np.array_split(source, 4 * workers)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        times = interleave({"read": lambda: list(pool.map(np.max, parts))})
    return size_bytes / statistics.median(times["read"]) / 1e6


def machine():
    """What the figures were taken on."""
    import keras
    import tensorflow as tf

    from kerasllm import native

    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "instruction set": native.info()["instruction_set"],
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
    }


@contextlib.contextmanager
def peak_of_this_process():
    """Measures by how many megabytes the block raises the process's memory at most (Linux).

    Yields:
        A dict that has `"megabytes"` when the block has ended.
    """
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # forgets the peak so far, which importing TensorFlow set
    before = _memory_kilobytes("VmRSS")
    peak = {}
    yield peak
    peak["megabytes"] = (_memory_kilobytes("VmHWM") - before) / 1024


def _memory_kilobytes(name):
    with open("/proc/self/status", encoding="ascii") as file:
        return int(next(line.split()[1] for line in file if line.startswith(name)))


def peak_memory(module, *arguments):
    """Megabytes that `python -m MODULE ARGUMENTS` prints as its last line.

    Memory is measured in a process of its own for each side: in one process the second would reuse
    what the first left.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout.strip().splitlines()[-1])
