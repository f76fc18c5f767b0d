"""`python -m benchmarks cuda`: the GPU kernels against PyTorch's best.

Needs a GPU, PyTorch and the library of `make cuda-library`; no TensorFlow, Keras or network.
"""

import time


def _torch():
    try:
        import torch
    except ImportError as error:
        raise SystemExit(f"benchmarks cuda: PyTorch cannot be imported: {error}") from None
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks cuda: there is no GPU here that PyTorch can use.")
    return torch


def machine():
    """What the figures are taken on."""
    torch = _torch()
    return {
        "GPU": torch.cuda.get_device_name(),
        "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def table(rows, header=True):
    """The rows as text."""
    from benchmarks.cuda import timing

    return timing.table(rows, header)


def run(quick):
    """Times every family and yields its rows; `quick`: few repeats and no `torch.compile`.

    A family that fails is reported at the end, behind the rows of the others.
    """
    torch = _torch()
    from benchmarks.cuda import families, launchers, timing
    from benchmarks.cuda.bench import Bench

    if not launchers.LIBRARY.is_file():
        raise SystemExit(f"benchmarks cuda: {launchers.LIBRARY} is not there; make cuda-library.")
    torch.manual_seed(0)
    kernels = launchers.Launchers(launchers.LIBRARY, "cuda", poisons=False)
    timer = timing.Timer("cuda", repeats=5 if quick else 30)
    copy_gbytes = timer.copy_bandwidth()
    print(f"copy: {copy_gbytes:.0f} GB/s, read and written")
    bench = Bench(kernels, timer, copy_gbytes, compiled=not quick)
    yield from _one_by_one(bench, _work(families, torch))


def _one_by_one(bench, work):
    """The rows of each family of `work`; at the end a sentence for those that failed."""
    import torch

    failures, begin = [], time.perf_counter()
    for family, *arguments in work:
        bench.rows = []
        try:
            family(bench, *arguments)
        except (AssertionError, RuntimeError) as error:
            failures.append(f"{family.__name__} {arguments}: {error}"[:500])
        torch.cuda.empty_cache()
        yield bench.rows
    print(f"{time.perf_counter() - begin:.0f} s")
    if failures:
        raise SystemExit("\n".join(["benchmarks cuda: these failed:", *failures]))


def _work(families, torch):
    """What is timed: a family and its arguments."""
    half = torch.bfloat16
    for dtype in (torch.float32, half, torch.float16):
        yield families.layer_norm, 32768, 1024, dtype
        yield families.gelu, 16384, 4096, dtype
    yield families.layer_norm, 65536, 768, half
    yield families.layer_norm, 8192, 8192, half
    yield families.embedding, 64, 512, 768, 21128
    yield families.adamw, 100, 1_000_000
    for dtype in (torch.float32, torch.float16):
        for units in (128, 256, 512, 1024):
            yield families.lstm, 64, 128, units, dtype
    for dim in (64, 128):
        for length in (2048, 4096, 8192, 16384):
            for causal in (False, True):
                heads = 2048 // dim
                yield families.attention, 16384 // length, length, heads, dim, causal, half
    for batch in (1, 4, 16, 64):
        yield families.decode_attention, batch, 8192, 32, 8, 128, half
    yield families.linear_cross_entropy, 8192, 768, 21128
    yield families.linear_cross_entropy, 8192, 4096, 131072
