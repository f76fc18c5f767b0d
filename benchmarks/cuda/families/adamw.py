"""A step of AdamW against PyTorch's fused one."""

import torch

from benchmarks.cuda import timing


def adamw(bench, count, size):
    dtype = torch.float32
    values = [bench.normal(size) for _ in range(count)]
    leaves = [value.clone().requires_grad_() for value in values]
    for leaf in leaves:
        leaf.grad = bench.normal(size)
    fused = bench.device == "cuda"
    optimizer = torch.optim.AdamW(leaves, lr=1e-3, weight_decay=0.01, eps=1e-8, fused=fused)
    momentums = [torch.zeros_like(value) for value in values]
    velocities = [torch.zeros_like(value) for value in values]
    gradients = [leaf.grad for leaf in leaves]
    # The first step, as the peer takes it before it is timed.
    rate = torch.tensor(1e-3, device=bench.device)
    alpha = torch.tensor(1e-3 * (1 - 0.999) ** 0.5 / (1 - 0.9), device=bench.device)

    def step(epsilon):
        bench.kernels.adamw(
            values,
            momentums,
            velocities,
            gradients,
            rate,
            alpha,
            epsilon=epsilon,
            weight_decay=0.01,
        )

    def torch_step():
        optimizer.step()
        return leaves[0].detach()

    # Their epsilon lies outside of the bias correction: sqrt(1 - beta_2) of it is ours.
    epsilon = 1e-8 * (1 - 0.999) ** 0.5
    step(epsilon)
    torch_step()
    distance = (values[0] - leaves[0].detach()).abs().max().item()
    if not distance <= 1e-5:
        raise AssertionError(f"adamw: differs by {distance}")
    functions = {"ours": lambda: step(epsilon), "torch fused": torch_step}
    times = bench.timer.interleave(functions)
    moved = 7 * 4 * count * size
    bench.rows += timing.rows("adamw", f"{count} x {size}", dtype, times, moved, bench.copy_gbytes)
