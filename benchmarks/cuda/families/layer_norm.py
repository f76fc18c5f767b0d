"""Layer normalisation, with and without a residual."""

import torch
import torch.nn.functional as F

from benchmarks.cuda.bench import gradients


def layer_norm(bench, rows, dim, dtype):
    shape = f"{rows} x {dim}"
    inputs, residual, d_outputs = (bench.normal(rows, dim, dtype=dtype) for _ in range(3))
    gamma, beta = bench.normal(dim), bench.normal(dim)
    outputs, total, d_inputs = (torch.empty_like(inputs) for _ in range(3))
    mean, deviation = torch.empty(2, rows, device=bench.device)
    d_gamma, d_beta = torch.empty(2, dim, device=bench.device)
    size = rows * dim * inputs.element_size()
    typed = gamma.to(dtype), beta.to(dtype)
    gamma, beta = typed[0].float(), typed[1].float()

    def plain(x, g, b):
        return F.layer_norm(x, (dim,), g, b, 1e-5)

    bench.add(
        "layer_norm forward",
        shape,
        dtype,
        lambda: bench.kernels.layer_norm_forward(
            inputs, outputs, mean, deviation, gamma=gamma, beta=beta, epsilon=1e-5
        ),
        (outputs,),
        bench.peers(plain, inputs, *typed),
        2 * size,
    )

    def with_residual(x, r, g, b):
        y = x + r
        return F.layer_norm(y, (dim,), g, b, 1e-5), y

    bench.add(
        "residual + norm forward",
        shape,
        dtype,
        lambda: bench.kernels.layer_norm_forward(
            inputs,
            outputs,
            mean,
            deviation,
            residual=residual,
            sum=total,
            gamma=gamma,
            beta=beta,
            epsilon=1e-5,
        ),
        (outputs, total),
        bench.peers(with_residual, inputs, residual, *typed),
        4 * size,
    )
    leaves = [v.clone().requires_grad_() for v in (inputs, *typed)]
    y = plain(*leaves)

    def backward():
        bench.kernels.layer_norm_backward(
            inputs, mean, deviation, d_outputs, d_inputs, d_gamma, d_beta, gamma=gamma
        )

    bench.kernels.layer_norm_forward(inputs, outputs, mean, deviation, epsilon=1e-5)
    peers = {"torch": gradients(y, leaves, d_outputs)}
    results = (d_inputs, d_gamma, d_beta)
    bench.add("layer_norm backward", shape, dtype, backward, results, peers, 3 * size)
