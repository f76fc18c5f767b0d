"""The vocabulary loss with its gradients: speed and memory."""

import torch
import torch.nn.functional as F

from benchmarks.cuda import timing
from benchmarks.cuda.bench import TOLERANCES


def linear_cross_entropy(bench, rows, dim, vocabulary, dtype=torch.bfloat16):
    """A training step's loss and gradients, saved in forward or made again in backward, with the
    arithmetic and the memory beside the times."""
    shape = f"{rows}x{dim}x{vocabulary}"
    hidden = bench.normal(rows, dim, dtype=dtype)
    kernel = (bench.normal(vocabulary, dim) * dim**-0.5).to(dtype)
    labels = torch.randint(vocabulary, (rows,), device=bench.device, dtype=torch.int32)
    factors = torch.full((rows,), 1 / rows, device=bench.device)
    losses, log_sum_exp = torch.empty(2, rows, device=bench.device)
    correct = torch.empty(rows, dtype=torch.bool, device=bench.device)

    def ours(saves):
        """Loss and gradients; their memory is asked for here, as the peers ask for theirs."""
        saved = None
        if saves:
            like = (hidden, kernel)
            saved = (*(torch.empty(v.shape, device=bench.device) for v in like), None)
        bench.kernels.linear_cross_entropy_forward(
            hidden, kernel, labels, losses, correct, log_sum_exp, gradients=saved or (None,) * 3
        )
        results = (torch.empty_like(hidden), torch.empty_like(kernel), None)
        bench.kernels.linear_cross_entropy_backward(
            hidden, kernel, labels, factors, results, saved=saved
        )
        return losses.mean(), *results[:2]

    leaves = [v.clone().requires_grad_() for v in (hidden, kernel)]
    ids = labels.long()

    def loss(h, w):
        return F.cross_entropy((h @ w.T).float(), ids)

    def stepping(function):
        def step():
            value = function(*leaves)
            return value.detach(), *torch.autograd.grad(value, leaves)

        return step

    functions = {"ours": lambda: ours(True), "ours, recomputed": lambda: ours(False)}
    for name, function in bench.ways(loss, *leaves).items():
        functions[name] = stepping(function)
    expected = functions["torch"]()
    for name in ("ours", "ours, recomputed"):
        for mine, theirs in zip(functions[name](), expected, strict=True):
            scale = theirs.abs().max().item()
            distance = (mine.float() - theirs.float()).abs().max().item()
            if not distance <= TOLERANCES[dtype] * scale:
                raise AssertionError(f"{name} {shape} {dtype}: differs by {distance}")
    del expected, mine, theirs
    peaks = {name: bench.peak_memory(function) for name, function in functions.items()}
    times = bench.timer.interleave(functions)
    # The operands and the gradients, read or written once; three products, whoever makes more.
    size = 2 * (hidden.numel() + kernel.numel()) * hidden.element_size()
    flops = 3 * 2 * rows * dim * vocabulary
    bench.rows += timing.rows(
        "vocabulary loss, step",
        shape,
        dtype,
        times,
        size,
        bench.copy_gbytes,
        flops,
        bench.peak(dtype),
    )
    for name, peak in peaks.items():
        print(f"vocabulary loss {shape}, {name}: {peak / 1e6:.0f} MB at most")
