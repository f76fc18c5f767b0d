"""Bias and GELU."""

import torch
import torch.nn.functional as F

from benchmarks.cuda.bench import gradients


def gelu(bench, rows, dim, dtype):
    shape = f"{rows} x {dim}"
    inputs, d_outputs = (bench.normal(rows, dim, dtype=dtype) for _ in range(2))
    typed = bench.normal(dim).to(dtype)
    bias = typed.float()
    outputs, d_inputs = torch.empty_like(inputs), torch.empty_like(inputs)
    d_bias = torch.empty_like(bias)
    size = rows * dim * inputs.element_size()
    for kind, approximate in (("erf", "none"), ("tanh", "tanh")):

        def plain(x, b, approximate=approximate):
            return F.gelu(x + b, approximate=approximate)

        bench.add(
            f"bias + GELU ({kind}) forward",
            shape,
            dtype,
            lambda kind=kind: bench.kernels.gelu_forward(inputs, outputs, bias, kind),
            (outputs,),
            bench.peers(plain, inputs, typed),
            2 * size,
        )
        leaves = [v.clone().requires_grad_() for v in (inputs, typed)]
        bench.add(
            f"bias + GELU ({kind}) backward",
            shape,
            dtype,
            lambda kind=kind: bench.kernels.gelu_backward(
                inputs, d_outputs, d_inputs, bias, d_bias, kind
            ),
            (d_inputs, d_bias),
            {"torch": gradients(plain(*leaves), leaves, d_outputs)},
            3 * size,
        )
