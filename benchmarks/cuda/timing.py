"""Times on a GPU: CUDA events behind a flushed cache, interleaved, medians."""

import statistics
import time
from dataclasses import dataclass

import torch

FLUSH_BYTES = 256 << 20  # more than the second-level cache of any GPU so far
AHEAD_CYCLES = 4_000_000  # about 2 ms: longer than the host takes to ask for what is timed


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
    ratio: float  # the best of PyTorch's medians over this one
    gbytes: float  # memory that must be read and written, per second
    share: float  # of the measured copy's
    tflops: float = 0.0  # 0: not counted
    peak_share: float = 0.0  # of the measured matrix product's


class Timer:
    """Interleaves functions and times each by events (on the CPU, for a test, by the clock)."""

    def __init__(self, device, repeats=30, warmup=5):
        self.device, self.repeats, self.warmup = device, repeats, warmup
        size = FLUSH_BYTES if device == "cuda" else 16
        self._flush = torch.zeros(size // 4, dtype=torch.float32, device=device)

    def interleave(self, functions):
        """dict of name -> function; returns dict of name -> sorted milliseconds."""
        marks = {name: [] for name in functions}
        for round_index in range(self.warmup + self.repeats):
            for name, function in functions.items():
                self._prepare()
                start = self._mark()
                function()
                end = self._mark()
                if round_index >= self.warmup:
                    marks[name].append((start, end))
        if self.device == "cuda":
            torch.cuda.synchronize()
        return {
            name: sorted(self._between(*pair) for pair in pairs) for name, pairs in marks.items()
        }

    def _prepare(self):
        """Fills the cache with what nobody needs and lets the host run ahead of the GPU.

        The cache is filled by reading: what is written would have to go to memory while the
        function is timed.
        """
        self._flush.sum()
        if self.device == "cuda":
            torch.cuda._sleep(AHEAD_CYCLES)

    def _mark(self):
        if self.device != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, start, end):
        if self.device != "cuda":
            return max(end - start, 1e-9) * 1e3
        return start.elapsed_time(end)

    def copy_bandwidth(self, size_bytes=1 << 30):
        """Gigabytes per second, read and written, of a copy on the device."""
        source = torch.ones(size_bytes, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        times = self.interleave({"copy": lambda: target.copy_(source)})["copy"]
        return 2 * size_bytes / statistics.median(times) / 1e6

    def matrix_peak(self, dtype, size=8192):
        """TFLOP/s of PyTorch's product of two square matrices."""
        a, b = (torch.randn(size, size, device=self.device).to(dtype) for _ in range(2))
        times = self.interleave({"product": lambda: a @ b})["product"]
        return 2 * size**3 / statistics.median(times) / 1e9


def rows(work, shape, dtype, times, size_bytes, copy_gbytes, flops=0, peak_tflops=0.0):
    """One `Row` for each name in `times`; `"ours"` is compared with the best of the others.

    `flops`: floating-point operations that must be done, 0 where memory is the limit.
    """
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min(median for name, median in medians.items() if not name.startswith("ours"))
    result = []
    for name, values in times.items():
        p20, p80 = (values[round(share * (len(values) - 1))] for share in (0.2, 0.8))
        gbytes = size_bytes / medians[name] / 1e6
        tflops = flops / medians[name] / 1e9
        result.append(
            Row(
                work,
                shape,
                name,
                str(dtype).removeprefix("torch."),
                p20,
                medians[name],
                p80,
                best / medians[name],
                gbytes,
                gbytes / copy_gbytes,
                tflops,
                tflops / peak_tflops if peak_tflops else 0.0,
            )
        )
    return result


def table(rows, header=True):
    """The rows as text, a blank line between two kinds of work."""
    lines = []
    if header:
        lines.append(
            f"{'work':26} {'shape':16} {'who':16} {'dtype':9} {'p20 ms':>8} {'p50 ms':>8} "
            f"{'p80 ms':>8} {'ratio':>6} {'GB/s':>6} {'of copy':>7} "
            f"{'TFLOP/s':>7} {'of peak':>7}"
        )
    before = None
    for row in rows:
        kind = (row.work, row.shape, row.dtype)
        if before not in (None, kind):
            lines.append("")
        before = kind
        arithmetic = f" {row.tflops:7.1f} {row.peak_share:7.0%}" if row.tflops else ""
        lines.append(
            f"{row.work:26} {row.shape:16} {row.who:16} {row.dtype:9} {row.p20:8.4f} "
            f"{row.p50:8.4f} {row.p80:8.4f} {row.ratio:6.2f} {row.gbytes:6.0f} "
            f"{row.share:7.0%}{arithmetic}"
        )
    return "\n".join(lines)
