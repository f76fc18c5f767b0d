"""Attention of the newest positions over a cache, and what is put into it."""

import math

import pytest
import torch
from checking import Results, check_error, run, shapes

# batch, query_length, max_length, heads, kv_heads, dim, start, window, first_key
CASES = [
    (1, 1, 1, 1, 1, 64, 0, 0, False),
    (2, 1, 97, 4, 2, 59, 96, 0, True),
    (1, 1, 1300, 8, 1, 64, 1199, 0, False),
    (2, 3, 80, 2, 1, 128, 41, 20, True),
    (1, 5, 70, 8, 2, 24, 60, 0, False),
    (1, 1, 600, 2, 2, 128, 520, 300, False),
    (2, 2, 90, 3, 3, 256, 50, 0, True),
]
GPU_CASES = [(16, 1, 8192, 32, 8, 128, 8000, 0, True), (1, 1, 8192, 32, 8, 128, 8191, 0, False)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def plain(query, keys, values, scale, seen):
    """In the dtype given; `seen`: (batch, 1, query_length, length)."""
    group = query.shape[2] // keys.shape[1]
    keys, values = (x.repeat_interleave(group, 1) for x in (keys, values))
    scores = (query.transpose(1, 2) @ keys.transpose(-1, -2)) * scale
    any_seen = seen.any(-1, keepdim=True)
    scores = scores.masked_fill(~seen, -math.inf).masked_fill(~any_seen, 0.0)
    weights = torch.softmax(scores, -1).masked_fill(~seen, 0.0)
    return (weights @ values).transpose(1, 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_newest_positions(kernels, dtype):
    for case in shapes(kernels, CASES, GPU_CASES):
        check(kernels, dtype, case)


def check(kernels, dtype, case):
    batch, length, max_length, heads, kv_heads, dim, start, window, padded = case
    device, generator = kernels.device, torch.Generator().manual_seed(sum(case))
    query, keys, values = (
        torch.randn(*shape, generator=generator).to(dtype).to(device)
        for shape in [(batch, length, heads, dim)] + 2 * [(batch, kv_heads, max_length, dim)]
    )
    end = start + length
    for cache in (keys, values):
        cache[:, :, end:] = math.nan  # not written yet
    first_key = None
    if padded:
        first_key = torch.arange(batch, dtype=torch.int32, device=device) * 30
        first_key[-1] = end if batch > 1 else 3  # nothing to see
    place = torch.arange(start, end, device=device)[None, None, :, None]
    key = torch.arange(end, device=device)[None, None, None, :]
    seen = (key <= place).expand(batch, 1, length, end)
    if window:
        seen = seen & (place - key < window)
    if padded:
        seen = seen & (key >= first_key.long()[:, None, None, None])
    scale = 1.0 / math.sqrt(dim)
    whole = query, keys[:, :, :end], values[:, :, :end]
    reference = plain(*(x.double() for x in whole), scale, seen)
    expected = plain(*whole, scale, seen)
    results = Results(device, outputs=(tuple(query.shape), dtype))
    options = {"window": window, "first_key": first_key}
    run(
        kernels,
        results,
        lambda: kernels.cached_attention(
            query, keys, values, results["outputs"], scale, start, **options
        ),
    )
    check_error(f"{case} {dtype}", results["outputs"], reference, expected)
    assert not results["outputs"][~seen.any(-1)[:, 0]].any()
    # The place in the device's memory: other shares of the keys, the same result but for rounding.
    results.poison()
    device_start = torch.tensor(start, dtype=torch.int32, device=device)
    kernels.cached_attention(
        query, keys, values, results["outputs"], scale, 0, device_start=device_start, **options
    )
    results.check_guards()
    check_error(f"device_start {case} {dtype}", results["outputs"], reference, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [64, 59])
def test_rows_go_into_the_cache_and_nowhere_else(kernels, dtype, dim):
    batch, length, kv_heads, max_length, start = 2, 3, 2, 20, 9
    rows = torch.randn(batch, length, kv_heads, dim).to(dtype).to(kernels.device)
    before = torch.randn(batch, kv_heads, max_length, dim).to(dtype).to(kernels.device)
    expected = before.clone()
    expected[:, :, start : start + length] = rows.transpose(1, 2)
    for device_start in (None, torch.tensor(start, dtype=torch.int32, device=kernels.device)):
        cache = before.clone()
        kernels.cache_update(rows, cache, start if device_start is None else 0, device_start)
        assert torch.equal(cache, expected)


def test_nothing_to_do_and_what_is_not_served(kernels):
    empty = torch.empty(0, 1, 2, 8, device=kernels.device)
    cache = torch.empty(0, 2, 4, 8, device=kernels.device)
    kernels.cached_attention(empty, cache, cache, empty, 1.0, 0)
    kernels.cache_update(empty, cache, 0)
    query = torch.empty(1, 1, 1, 257, device=kernels.device)
    cache = torch.empty(1, 1, 4, 257, device=kernels.device)
    with pytest.raises(RuntimeError, match="not supported"):
        kernels.cached_attention(query, cache, cache, query, 1.0, 0)
