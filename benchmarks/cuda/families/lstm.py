"""The LSTM against cuDNN's."""

import torch

from benchmarks.cuda.bench import gradients


def lstm(bench, batch, time, units, dtype):
    """Against cuDNN's by torch.nn.LSTM, its float32 products without tf32, as ours are."""
    shape = f"{batch}x{time}x{units}"
    torch.backends.cudnn.allow_tf32 = False
    peer = torch.nn.LSTM(units, units, batch_first=True, device=bench.device, dtype=dtype)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = [getattr(peer, name) for name in names]
    with torch.no_grad():
        weights[3].zero_()
    state = -(-units // 16) * 16

    def empty(*sizes, dtype=dtype):
        return torch.empty(*sizes, device=bench.device, dtype=dtype)

    inputs, d_outputs = (bench.normal(batch, time, units, dtype=dtype) for _ in range(2))
    tensors = {
        "inputs": inputs,
        "kernel": weights[0].detach().T.contiguous(),
        "recurrent_kernel": weights[1].detach().T.contiguous(),
        "bias": weights[2].detach().clone(),
        "outputs": empty(batch, time, units),
        "gates": empty(time, batch, 4, state),
        "cells": empty(time, batch, state, dtype=torch.float32),
        "hidden": empty(time, batch, state),
        "d_outputs": d_outputs,
        "d_inputs": empty(batch, time, units),
        "d_kernel": empty(units, 4 * units),
        "d_recurrent_kernel": empty(units, 4 * units),
        "d_bias": empty(4 * units),
    }
    for name in ("initial_hidden", "initial_cell", "d_final_hidden", "d_final_cell"):
        tensors[name] = torch.zeros(batch, units, device=bench.device, dtype=dtype)
    for name in ("final_hidden", "final_cell", "d_initial_hidden", "d_initial_cell"):
        tensors[name] = empty(batch, units)
    leaf = inputs.clone().requires_grad_()
    size = 2 * inputs.numel() * inputs.element_size()
    flops = 2 * batch * time * 4 * units * 2 * units
    bench.add(
        "lstm forward",
        shape,
        dtype,
        lambda: bench.kernels.lstm_forward(tensors),
        (tensors["outputs"],),
        {"torch cuDNN": lambda: peer(leaf)[0]},
        size,
        flops,
    )
    results = ("d_inputs", "d_kernel", "d_recurrent_kernel", "d_bias")
    bench.add(
        "lstm backward",
        shape,
        dtype,
        lambda: bench.kernels.lstm_backward(tensors),
        [tensors[name] if name in ("d_inputs", "d_bias") else tensors[name].T for name in results],
        {"torch cuDNN": gradients(peer(leaf)[0], [leaf, *weights[:3]], d_outputs)},
        2 * size,
        2 * flops,
    )
