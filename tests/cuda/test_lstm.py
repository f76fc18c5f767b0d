import itertools

import pytest
import torch
from checking import Results, check_error, run, shapes

# (batch, time, input_dim, units)
SHAPES = [(1, 1, 1, 1), (3, 7, 5, 16), (17, 5, 20, 33), (29, 5, 24, 18)]
GPU_SHAPES = [(64, 128, 128, 128), (5, 97, 59, 59), (64, 16, 512, 1024)]
FLAGS = list(itertools.product([False, True], repeat=3))
LEAVES = ("inputs", "initial_hidden", "initial_cell", "kernel", "recurrent_kernel", "bias")


def composed(t, mask, go_backwards, zero_output, return_sequences):
    """Keras's LSTM step by step; returns outputs, final_hidden and final_cell."""
    hidden, cell = t["initial_hidden"], t["initial_cell"]
    output, outputs = torch.zeros_like(hidden), []
    time = t["inputs"].shape[1]
    for step in range(time):
        at = time - 1 - step if go_backwards else step
        z = t["inputs"][:, at] @ t["kernel"] + hidden @ t["recurrent_kernel"] + t["bias"]
        i, f, g, o = z.chunk(4, -1)
        new_cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        new_hidden = o.sigmoid() * new_cell.tanh()
        if mask is None:
            hidden, cell, output = new_hidden, new_cell, new_hidden
        else:
            on = mask[:, at, None]
            carried = torch.zeros_like(output) if zero_output else output
            output = torch.where(on, new_hidden, carried)
            hidden, cell = torch.where(on, new_hidden, hidden), torch.where(on, new_cell, cell)
        outputs.append(output)
    return torch.stack(outputs if return_sequences else outputs[-1:], 1), hidden, cell


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_forward_and_backward(kernels, dtype, masked):
    for index, shape in enumerate(shapes(kernels, SHAPES, GPU_SHAPES)):
        for flags in FLAGS if shape == SHAPES[1] else [FLAGS[(3 * index + 1) % 8]]:
            check(kernels, dtype, masked, *shape, flags)


def check(kernels, dtype, masked, batch, time, input_dim, units, flags):
    device, state = kernels.device, -(-units // 16) * 16
    generator = torch.Generator().manual_seed(batch + time)

    def normal(*shape, scale=1.0):
        return (torch.randn(*shape, generator=generator) * scale).to(dtype).to(device)

    t = {
        "inputs": normal(batch, time, input_dim),
        "initial_hidden": normal(batch, units, scale=0.3),
        "initial_cell": normal(batch, units, scale=0.3),
        "kernel": normal(input_dim, 4 * units, scale=input_dim**-0.5),
        "recurrent_kernel": normal(units, 4 * units, scale=units**-0.5),
        "bias": normal(4 * units, scale=0.1),
    }
    mask = (torch.rand(batch, time, generator=generator) < 0.6).to(device) if masked else None
    length = time if flags[2] else 1
    per_row = ((batch, units), dtype)
    results = Results(
        device,
        outputs=((batch, length, units), dtype),
        final_hidden=per_row,
        final_cell=per_row,
        gates=((time, batch, 4, state), dtype),
        cells=((time, batch, state), torch.float32),
        hidden=((time, batch, state), dtype),
    )
    run(kernels, results, lambda: kernels.lstm_forward(t | results.tensors | {"mask": mask}, flags))
    d = [normal(batch, length, units), normal(batch, units), normal(batch, units)]

    def reference(to):
        leaves = {name: t[name].to(to).requires_grad_() for name in LEAVES}
        outputs = composed(leaves, mask, *flags)
        gradients = torch.autograd.grad(
            outputs, list(leaves.values()), [v.to(to) for v in d], allow_unused=True
        )
        zeros = [torch.zeros_like(leaf) for leaf in leaves.values()]
        gradients = [z if g is None else g for g, z in zip(gradients, zeros, strict=True)]
        return [v.detach() for v in outputs], gradients

    wide, wide_gradients = reference(torch.float64)
    plain, plain_gradients = reference(dtype)
    name = f"{dtype} masked {masked} {batch} x {time} x {input_dim} x {units} {flags}"
    for key, expected, stock in zip(
        ("outputs", "final_hidden", "final_cell"), wide, plain, strict=True
    ):
        check_error(f"{key} {name}", results[key], expected, stock)
    back = Results(device, **{f"d_{key}": (t[key].shape, dtype) for key in LEAVES})
    saved = {key: results[key].clone() for key in ("gates", "cells", "hidden")}
    given = dict(zip(("d_outputs", "d_final_hidden", "d_final_cell"), d, strict=True))
    run(
        kernels,
        back,
        lambda: kernels.lstm_backward(t | saved | given | back.tensors | {"mask": mask}, flags),
    )
    for key, expected, stock in zip(LEAVES, wide_gradients, plain_gradients, strict=True):
        check_error(f"d_{key} {name}", back[f"d_{key}"], expected, stock)
