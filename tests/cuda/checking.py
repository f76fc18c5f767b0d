"""Guarded and poisoned results, repeats, and the error bar."""

import os
import time

import torch

# Under compute-sanitizer: few repeats and no large shapes.
IS_SMALL = os.environ.get("KERASLLM_CUDA_SMALL") == "1"
GUARD = 64  # elements on each side: 16-byte accesses keep their alignment


def shapes(kernels, small, large):
    """The shapes for these kernels: the large ones on a GPU only."""
    return small + (large if kernels.device == "cuda" and not IS_SMALL else [])


class Results:
    """Results of a kernel between guards, filled with NaN until something is written.

    Args:
        device: Where they lie.
        **shapes: `name=(shape, dtype)`.
    """

    def __init__(self, device, **shapes):
        self._whole, self.tensors = {}, {}
        for name, (shape, dtype) in shapes.items():
            size = int(torch.tensor(shape).prod()) if len(shape) else 1
            whole = torch.empty(size + 2 * GUARD, dtype=dtype, device=device)
            self._whole[name] = whole
            self.tensors[name] = whole[GUARD : GUARD + size].view(shape)
        self.poison()

    def poison(self):
        for whole in self._whole.values():
            whole.view(torch.uint8).fill_(0xFF)

    def __getitem__(self, name):
        return self.tensors[name]

    def check_guards(self):
        for name, whole in self._whole.items():
            for guard in (whole[:GUARD], whole[-GUARD:]):
                assert bool((guard.contiguous().view(torch.uint8) == 0xFF).all()), (
                    f"{name}: written outside of its memory"
                )

    def copies(self):
        return {name: tensor.clone() for name, tensor in self.tensors.items()}


def run(kernels, results, launch, repeats=None, varies=()):
    """Launches on poisoned results, again and again; every time the same bits, within the guards.

    On a GPU 100 times, or as often as goes into a second, 10 times at least. Emulated, every repeat
    runs the threads in another order. Those named in `varies` are summed in any order: their bits
    are not compared, and the last run's are left for the error bar.
    """
    repeats = repeats or (100 if kernels.device == "cuda" and not IS_SMALL else 3)
    first, begin = None, time.perf_counter()
    for repeat in range(repeats):
        if repeat >= 10 and time.perf_counter() - begin > 1:
            break
        results.poison()
        if kernels.device == "cpu":
            kernels.set_order(repeat)
        launch()
        if kernels.device == "cpu":
            kernels.set_order(0)
        else:
            torch.cuda.synchronize()
        results.check_guards()
        if first is None:
            first = results.copies()
            continue
        for name, tensor in results.tensors.items():
            if name in varies:
                continue
            same = tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor
            assert torch.equal(_bits(same), _bits(first[name])), f"{name}: other bits at {repeat}"
    return results


def _bits(tensor):
    return tensor.contiguous().view(torch.uint8)


def error(result, reference):
    """The largest distance; infinite where there is a NaN that the reference has not."""
    result, reference = result.double().cpu(), reference.double().cpu()
    assert result.shape == reference.shape, (result.shape, reference.shape)
    distance = (result - reference).abs()
    both_nan = result.isnan() & reference.isnan()
    distance = torch.where(both_nan, 0.0, distance)
    return distance.nan_to_num(nan=float("inf")).max().item() if distance.numel() else 0.0


def check_error(name, result, reference, plain):
    """The error against float64 is at most twice that of PyTorch's plain operations in the same
    dtype. On few elements those may be lucky, so a float32 unit in the last place, or a quarter of
    a half precision one, is free."""
    unit = torch.finfo(result.dtype).eps * (1.0 if result.dtype == torch.float32 else 0.25)
    free = unit * max(1.0, reference.abs().nan_to_num().max().item())
    ours, theirs = error(result, reference), error(plain, reference)
    assert ours <= 2 * theirs + free, f"{name}: error {ours:.3g}, PyTorch's {theirs:.3g}"


def words_of_rows(seed, rows, columns):
    """Dropout's 16 random bits of each element, by Philox4x32-10 in plain integers."""
    import numpy as np

    counters = np.zeros((rows, -(-columns // 8), 4), np.uint64)
    counters[..., 0] = np.arange(counters.shape[1])[None, :]
    counters[..., 1] = np.arange(rows)[:, None]
    k0, k1 = (int(word) & 0xFFFFFFFF for word in seed)
    c0, c1, c2, c3 = (counters[..., i] for i in range(4))
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p2 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (p2 >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            p2 & low,
            (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            p0 & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    words = np.stack([c0, c1, c2, c3], -1)
    halves = np.stack([words & np.uint64(0xFFFF), words >> np.uint64(16)], -1)
    return halves.reshape(rows, -1)[:, :columns].astype(np.int64)


def dropout_factors(rate, seed, rows, columns):
    """What dropout multiplies each element by, float64 (rows, columns)."""
    threshold = min(65535, int(rate * 65536 + 0.5))
    kept = torch.from_numpy(words_of_rows(seed, rows, columns)) >= threshold
    return kept.double() * 65536 / (65536 - threshold)
