import pytest
import torch
from checking import Results, check_error, run, shapes

SHAPES = [(1, 1), (3, 59), (97, 64), (260, 136), (5, 768), (2, 1025)]
GPU_SHAPES = [(4097, 3072), (70000, 64), (1, 100003)]


def activation(x, kind):
    if kind == "silu":
        return torch.nn.functional.silu(x)
    if kind == "relu":
        return torch.relu(x)
    return torch.nn.functional.gelu(x, approximate="tanh" if kind == "tanh" else "none")


def composed(inputs, bias, kind, gated):
    x = inputs if bias is None else inputs + bias.to(inputs.dtype)
    if not gated:
        return activation(x, kind)
    gate, value = x.chunk(2, -1)
    return activation(gate, kind) * value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("kind", ["erf", "tanh", "silu", "relu"])
def test_forward_and_backward(kernels, dtype, gated, kind):
    for rows, dim in shapes(kernels, SHAPES, GPU_SHAPES):
        check(kernels, dtype, gated, kind, rows, dim, with_bias=dim != 64)


def check(kernels, dtype, gated, kind, rows, dim, with_bias):
    device = kernels.device
    generator = torch.Generator().manual_seed(rows * 10000 + dim)
    columns = 2 * dim if gated else dim
    inputs = (torch.randn(rows, columns, generator=generator) * 2).to(dtype).to(device)
    bias = torch.randn(columns, generator=generator).to(device) if with_bias else None
    d_outputs = torch.randn(rows, dim, generator=generator).to(dtype).to(device)
    name = f"{kind} {'gated ' if gated else ''}{dtype} {rows} x {dim}"

    def reference(to):
        leaves = [inputs.to(to).requires_grad_()]
        if with_bias:
            leaves.append(bias.to(torch.float64 if to == torch.float64 else torch.float32))
            leaves[1].requires_grad_()
        outputs = composed(leaves[0], leaves[1] if with_bias else None, kind, gated)
        return outputs.detach(), torch.autograd.grad(outputs, leaves, d_outputs.to(to))

    outputs, gradients = reference(torch.float64)
    plain_outputs, plain_gradients = reference(dtype)
    results = Results(
        device,
        outputs=((rows, dim), dtype),
        d_inputs=((rows, columns), dtype),
        d_bias=((columns,), torch.float32),
    )
    r = results.tensors

    def launch():
        kernels.gelu_forward(inputs, r["outputs"], bias, kind, gated)
        d_bias = r["d_bias"] if with_bias else None
        kernels.gelu_backward(inputs, d_outputs, r["d_inputs"], bias, d_bias, kind, gated)

    run(kernels, results, launch)
    check_error(f"outputs {name}", r["outputs"], outputs, plain_outputs)
    check_error(f"d_inputs {name}", r["d_inputs"], gradients[0], plain_gradients[0])
    if with_bias:
        check_error(f"d_bias {name}", r["d_bias"], gradients[1], plain_gradients[1])


@pytest.mark.parametrize("kind", ["erf", "tanh", "silu", "relu"])
def test_far_values_and_nan(kernels, kind):
    values = [-200.0, -50.0, -9.0, -0.0, 0.0, 9.0, 50.0, 200.0, torch.nan]
    inputs = torch.tensor([values], device=kernels.device)
    outputs, d_inputs = torch.empty_like(inputs), torch.empty_like(inputs)
    kernels.gelu_forward(inputs, outputs, kind=kind)
    kernels.gelu_backward(inputs, torch.ones_like(inputs), d_inputs, kind=kind)
    wide = inputs.double().requires_grad_()
    reference = activation(wide, kind)
    (gradient,) = torch.autograd.grad(reference.sum(), wide)
    torch.testing.assert_close(
        outputs.double(), reference.detach(), rtol=1e-4, atol=1e-6, equal_nan=True
    )
    torch.testing.assert_close(d_inputs[:, :-1].double(), gradient[:, :-1], rtol=1e-4, atol=1e-6)
    assert d_inputs[0, -1].isnan()
