"""`python -m benchmarks cuda`: the GPU kernels against PyTorch's best.

Needs a GPU, PyTorch and the library of `make cuda-library`; no TensorFlow, Keras or network.
"""


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


def table(rows):
    """The rows as text."""
    from benchmarks.cuda import timing

    return timing.table(rows)


def run(quick):
    """Times every family; `quick`: few repeats and no `torch.compile`."""
    torch = _torch()
    from benchmarks.cuda import families, launchers, timing

    if not launchers.LIBRARY.is_file():
        raise SystemExit(f"benchmarks cuda: {launchers.LIBRARY} is not there; make cuda-library.")
    torch.manual_seed(0)
    kernels = launchers.Launchers(launchers.LIBRARY, "cuda", poisons=False)
    timer = timing.Timer("cuda", repeats=5 if quick else 30)
    copy_gbytes = timer.copy_bandwidth()
    print(f"copy: {copy_gbytes:.0f} GB/s, read and written")
    bench = families.Bench(kernels, timer, copy_gbytes, compiled=not quick)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        families.layer_norm(bench, 32768, 1024, dtype)
        families.gelu(bench, 16384, 4096, dtype)
    families.layer_norm(bench, 65536, 768, torch.bfloat16)
    families.layer_norm(bench, 8192, 8192, torch.bfloat16)
    families.embedding(bench, 64, 512, 768, 21128)
    families.adamw(bench, 100, 1_000_000)
    for dim in (64, 128):
        for length in (2048, 4096, 8192, 16384):
            for causal in (False, True):
                families.attention(
                    bench, 16384 // length, length, 2048 // dim, dim, causal, torch.bfloat16
                )
    for batch in (1, 4, 16, 64):
        families.decode_attention(bench, batch, 8192, 32, 8, 128, torch.bfloat16)
    families.linear_cross_entropy(bench, 8192, 768, 21128)
    families.linear_cross_entropy(bench, 8192, 4096, 131072)
    return bench.rows
