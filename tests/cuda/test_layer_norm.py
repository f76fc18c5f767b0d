import pytest
import torch
from checking import Results, check_error, dropout_factors, run, shapes

SHAPES = [(1, 1), (3, 59), (97, 64), (33, 128), (5, 768), (2, 1025), (40, 8), (2, 8192), (1, 9000)]
GPU_SHAPES = [(4097, 768), (1025, 1024), (515, 4096), (70000, 64)]
SEED = (7, -3)


def composed(inputs, residual, gamma, beta, rms, factors, epsilon):
    """The maths of the kernel in the inputs' dtype; float64 in, float64 out."""
    total = inputs * factors.to(inputs.dtype) if factors is not None else inputs
    total = total if residual is None else residual + total
    wide = total.float() if total.dtype != torch.float64 else total
    gamma, beta = (None if v is None else v.to(wide.dtype) for v in (gamma, beta))
    mean = 0.0 if rms else wide.mean(-1, keepdim=True)
    variance = (wide - mean).square().mean(-1, keepdim=True)
    y = (wide - mean) * torch.rsqrt(variance + epsilon)
    y = y if gamma is None else y * gamma
    y = y if beta is None else y + beta
    return y.to(inputs.dtype), total


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("form", ["plain", "residual", "dropout", "residual and dropout", "rms"])
def test_forward_and_backward(kernels, dtype, form):
    for rows, dim in shapes(kernels, SHAPES, GPU_SHAPES):
        check(kernels, dtype, form, rows, dim)


def check(kernels, dtype, form, rows, dim):
    device = kernels.device
    generator = torch.Generator().manual_seed(rows * 10000 + dim)

    def normal(*shape, dtype=dtype, mean=0.0):
        return (torch.randn(*shape, generator=generator) + mean).to(dtype).to(device)

    inputs = normal(rows, dim, mean=0.5)
    residual = normal(rows, dim) if "residual" in form else None
    affine = form != "rms"
    gamma = normal(dim, dtype=torch.float32, mean=1.0) if affine else None
    beta = normal(dim, dtype=torch.float32) if affine else None
    rate = 0.25 if "dropout" in form else 0.0
    seed = torch.tensor(SEED, dtype=torch.int32, device=device)
    factors = dropout_factors(rate, SEED, rows, dim).to(device) if rate else None
    keeps = residual is not None or rate > 0
    epsilon, rms = 1e-3, form == "rms"

    matrix, row = ((rows, dim), dtype), ((rows,), torch.float32)
    results = Results(device, outputs=matrix, sum=matrix, mean=row, reciprocal_deviation=row)
    r = results.tensors
    run(
        kernels,
        results,
        lambda: kernels.layer_norm_forward(
            inputs,
            r["outputs"],
            r["mean"],
            r["reciprocal_deviation"],
            residual=residual,
            sum=r["sum"] if keeps else None,
            gamma=gamma,
            beta=beta,
            epsilon=epsilon,
            rms=rms,
            rate=rate,
            seed=seed,
        ),
    )
    name = f"{form} {dtype} {rows} x {dim}"

    # From here on what was kept is the input: its rounding is the kernel's only in the sum.
    wide = inputs.double() if residual is None else residual.double()
    wide_sum = inputs.double() if factors is None else inputs.double() * factors
    wide_sum = wide_sum if residual is None else wide + wide_sum
    if keeps:
        _, plain_sum = composed(inputs, residual, gamma, beta, rms, factors, epsilon)
        check_error(f"sum {name}", r["sum"], wide_sum, plain_sum)
    kept = r["sum"].clone() if keeps else inputs
    x = kept.double().requires_grad_()
    leaves = [x]
    wide_gamma = wide_beta = None
    if affine:
        wide_gamma = gamma.double().requires_grad_()
        wide_beta = beta.double().requires_grad_()
        leaves += [wide_gamma, wide_beta]
    reference, _ = composed(x, None, wide_gamma, wide_beta, rms, None, epsilon)
    plain_leaves = [
        leaf.detach().to(dtype if i == 0 else torch.float32).requires_grad_()
        for i, leaf in enumerate(leaves)
    ]
    plain, _ = composed(
        plain_leaves[0], None, *(plain_leaves[1:] if affine else (None, None)), rms, None, epsilon
    )
    check_error(f"outputs {name}", r["outputs"], reference.detach(), plain.detach())

    d_outputs, d_sum = normal(rows, dim), normal(rows, dim) if keeps else None
    gradients = torch.autograd.grad(reference, leaves, d_outputs.double())
    plain_gradients = torch.autograd.grad(plain, plain_leaves, d_outputs)
    vector = ((dim,), torch.float32)
    back = Results(device, d_inputs=matrix, d_residual=matrix, d_gamma=vector, d_beta=vector)
    b = back.tensors
    mean, deviation = r["mean"].clone(), r["reciprocal_deviation"].clone()
    run(
        kernels,
        back,
        lambda: kernels.layer_norm_backward(
            kept,
            mean,
            deviation,
            d_outputs,
            b["d_inputs"],
            b["d_gamma"],
            b["d_beta"],
            gamma=gamma,
            d_sum=d_sum,
            d_residual=b["d_residual"] if rate else None,
            rms=rms,
            rate=rate,
            seed=seed,
        ),
    )
    more = 0.0 if d_sum is None else d_sum.double()
    wanted = gradients[0] + more
    plain_wanted = plain_gradients[0] if d_sum is None else plain_gradients[0] + d_sum
    if rate:
        check_error(f"d_residual {name}", b["d_residual"], wanted, plain_wanted)
        wanted, plain_wanted = wanted * factors, plain_wanted * factors.to(dtype)
    check_error(f"d_inputs {name}", b["d_inputs"], wanted, plain_wanted)
    if affine:
        check_error(f"d_gamma {name}", b["d_gamma"], gradients[1], plain_gradients[1])
        check_error(f"d_beta {name}", b["d_beta"], gradients[2], plain_gradients[2])


@pytest.mark.parametrize("dim", [64, 59, 9000])
def test_results_may_lie_where_inputs_do(kernels, dim):
    """outputs in inputs and the sum in residual; d_inputs in d_outputs."""
    device, rows = kernels.device, 5
    torch.manual_seed(dim)
    inputs, residual = (torch.randn(rows, dim).to(device) for _ in range(2))
    apart = [torch.empty(rows, dim, device=device) for _ in range(2)]
    rows_apart = [torch.empty(rows, device=device) for _ in range(2)]
    kernels.layer_norm_forward(inputs, apart[0], *rows_apart, residual=residual, sum=apart[1])
    rows_within = [torch.empty(rows, device=device) for _ in range(2)]
    kernels.layer_norm_forward(inputs, inputs, *rows_within, residual=residual, sum=residual)
    assert torch.equal(inputs, apart[0]) and torch.equal(residual, apart[1])

    d_outputs = torch.randn(rows, dim).to(device)
    vectors = [torch.empty(dim, device=device) for _ in range(4)]
    d_inputs = torch.empty_like(d_outputs)
    kernels.layer_norm_backward(residual, *rows_apart, d_outputs, d_inputs, *vectors[:2])
    kernels.layer_norm_backward(residual, *rows_apart, d_outputs, d_outputs, *vectors[2:])
    assert torch.equal(d_outputs, d_inputs)
    assert torch.equal(vectors[0], vectors[2]) and torch.equal(vectors[1], vectors[3])


def test_a_row_with_a_nan_is_nan_and_no_other(kernels):
    inputs = torch.randn(6, 96).to(kernels.device)
    inputs[2, 5] = torch.nan
    outputs = torch.empty_like(inputs)
    vectors = [torch.empty(6, device=kernels.device) for _ in range(2)]
    kernels.layer_norm_forward(inputs, outputs, *vectors)
    assert outputs.isnan().all(1).tolist() == [False, False, True, False, False, False]
    assert not outputs[[0, 1, 3, 4, 5]].isnan().any()
