"""The matrix product of a warp: every place of every fragment counts in every result."""

import pytest
import torch


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_warps_product(kernels, dtype):
    depth = 8 if dtype == torch.float32 else 16
    generator = torch.Generator().manual_seed(0)
    # Small whole numbers: products and sums are exact, and no two rows or columns are alike.
    a = torch.randint(-9, 10, (16, depth), generator=generator).to(dtype).to(kernels.device)
    b = torch.randint(-9, 10, (depth, 8), generator=generator).to(dtype).to(kernels.device)
    assert len({tuple(row) for row in a.tolist()}) == 16
    assert len({tuple(column) for column in b.T.tolist()}) == 8
    ways = 2 if dtype == torch.float32 else 3  # ldmatrix, transposing ldmatrix, shuffles
    for order in range(4 if kernels.device == "cpu" else 1):
        if kernels.device == "cpu":
            kernels.set_order(order)
        results = torch.full((ways, 16, 8), torch.nan, device=kernels.device)
        kernels.mma_test(a, b, b.T.contiguous(), results)
        for result in results:
            assert torch.equal(result.double(), a.double() @ b.double())
    if kernels.device == "cpu":
        kernels.set_order(0)


def test_tf32_is_the_nearest_number_of_10_bits(kernels):
    a, b = torch.zeros(16, 8), torch.zeros(8, 8)
    b[0, 0] = 1.0
    a[0, 0], a[1, 0], a[2, 0] = 1 + 2**-11, 1 + 2**-11 - 2**-23, -(1 + 3 * 2**-11)
    results = torch.empty(2, 16, 8, device=kernels.device)
    kernels.mma_test(a.to(kernels.device), b.to(kernels.device), None, results)
    for result in results.tolist():
        assert [row[0] for row in result[:3]] == [1 + 2**-10, 1.0, -(1 + 4 * 2**-11)]
