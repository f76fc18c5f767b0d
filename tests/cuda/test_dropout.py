import pytest
import torch
from checking import Results, dropout_factors, run, shapes

SHAPES = [(1, 1), (3, 59), (17, 64), (5, 1025)]
SEED = (-559038737, 12345)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("offset", [0, 1], ids=["vectors", "unaligned"])
def test_the_elements_dropped_are_those_of_the_cpu(kernels, dtype, offset):
    seed = torch.tensor(SEED, dtype=torch.int32, device=kernels.device)
    for rows, columns in shapes(kernels, SHAPES, [(4096, 4096), (3, 1000003)]):
        memory = torch.randn(rows * columns + offset, device=kernels.device).to(dtype)
        inputs = memory[offset:].view(rows, columns)
        results = Results(kernels.device, outputs=((rows, columns), dtype))
        for rate in (0.3, 0.0):
            run(
                kernels,
                results,
                lambda rate=rate, inputs=inputs, results=results: kernels.dropout(
                    inputs, results["outputs"], rate, seed
                ),
            )
            factors = dropout_factors(rate, SEED, rows, columns).float()
            expected = (inputs.cpu().float() * factors).to(dtype)
            assert torch.equal(results["outputs"].cpu(), expected), (rows, columns, rate)


def test_no_elements(kernels):
    seed = torch.tensor(SEED, dtype=torch.int32, device=kernels.device)
    for shape in ((0, 5), (5, 0)):
        empty = torch.zeros(shape, device=kernels.device)
        kernels.dropout(empty, torch.zeros_like(empty), 0.5, seed)
