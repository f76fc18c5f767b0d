"""Tensors without elements: nothing is launched but the zeros of sums over nothing."""

import pytest
import torch


@pytest.mark.parametrize("shape", [(0, 8), (3, 0)])
def test_layer_norm_and_gelu(kernels, shape):
    rows, dim = shape
    empty = torch.empty(shape, device=kernels.device)
    per_row = torch.empty(2, rows, device=kernels.device)
    kernels.layer_norm_forward(empty, empty, *per_row)
    sums = torch.full((2, dim), torch.nan, device=kernels.device)
    kernels.layer_norm_backward(empty, *per_row, empty, empty, *sums)
    assert torch.equal(sums, torch.zeros_like(sums))
    bias = torch.ones(dim, device=kernels.device)
    d_bias = torch.full((dim,), torch.nan, device=kernels.device)
    kernels.gelu_forward(empty, empty, bias)
    kernels.gelu_backward(empty, empty, empty, bias, d_bias)
    assert torch.equal(d_bias, torch.zeros_like(d_bias))


@pytest.mark.parametrize("deterministic", [False, True])
def test_embedding_of_no_tokens(kernels, deterministic):
    device = kernels.device
    ids = torch.empty(0, 4, dtype=torch.int32, device=device)
    start = torch.zeros((), dtype=torch.int32, device=device)
    outputs = torch.empty(0, 4, 8, device=device)
    tables = [torch.full((rows, 8), torch.nan, device=device) for rows in (5, 6, 2)]
    kernels.embedding_forward(ids, start, tables[0], outputs)
    kernels.embedding_backward(ids, start, outputs, *tables, ids, deterministic=deterministic)
    assert all(not table.any() for table in tables)
