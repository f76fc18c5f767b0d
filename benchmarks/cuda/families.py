"""What is timed: each family forward and backward against PyTorch, equality checked first.

PyTorch's side is its fused operation where it has one, else its operations one by one and, where
`torch.compile` works, compiled into one.
"""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.cuda import timing

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 6e-2, torch.float16: 1e-2}


class Bench:
    """Kernels, timer and options that the families share.

    Args:
        kernels: `launchers.Launchers`.
        timer: `timing.Timer`.
        copy_gbytes: Measured bandwidth of a copy.
        compiled: Whether to try `torch.compile`.
    """

    def __init__(self, kernels, timer, copy_gbytes, compiled):
        self.kernels, self.timer = kernels, timer
        self.copy_gbytes, self.compiled = copy_gbytes, compiled
        self.device = kernels.device
        self.rows = []
        self._peaks = {}

    def peak(self, dtype):
        """Measured TFLOP/s of a product of large matrices."""
        if dtype not in self._peaks:
            size = 8192 if self.device == "cuda" else 64
            self._peaks[dtype] = self.timer.matrix_peak(dtype, size)
            print(f"matrix product: {self._peaks[dtype]:.0f} TFLOP/s in {dtype}")
        return self._peaks[dtype]

    def normal(self, *shape, dtype=torch.float32):
        return torch.randn(*shape, device=self.device).to(dtype)

    def peers(self, function, *arguments):
        """Calls of `ways`."""
        ways = self.ways(function, *arguments)
        return {name: lambda way=way: way(*arguments) for name, way in ways.items()}

    def ways(self, function, *arguments):
        """PyTorch's ways to call the function: as it is and compiled."""
        result = {"torch": function}
        if self.compiled:
            try:
                fast = torch.compile(function, dynamic=False)
                fast(*arguments)
                result["torch compiled"] = fast
            except Exception as error:  # no compiler, an unknown GPU: the other way is left
                print(f"torch.compile: {type(error).__name__}: {error}"[:200])
        return result

    def peak_memory(self, function):
        """Bytes that a call asks for beyond what is there before; 0 without a GPU."""
        if self.device != "cuda":
            function()
            return 0
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def add(self, work, shape, dtype, ours, results, peers, size_bytes, flops=0):
        """Checks `results` of ours against the first of the peers, then times all."""
        ours()
        expected = next(iter(peers.values()))()
        expected = expected if isinstance(expected, (tuple, list)) else (expected,)
        for mine, theirs in zip(results, expected, strict=True):
            scale = max(1.0, theirs.abs().max().item())
            distance = (mine.float() - theirs.float()).abs().max().item()
            if not distance <= TOLERANCES[dtype] * scale:
                raise AssertionError(f"{work} {shape} {dtype}: differs by {distance}")
        times = self.timer.interleave({"ours": ours, **peers})
        peak = self.peak(dtype) if flops else 0.0
        self.rows += timing.rows(
            work, shape, dtype, times, size_bytes, self.copy_gbytes, flops, peak
        )


def _gradients(outputs, leaves, d_outputs):
    return lambda: torch.autograd.grad(outputs, leaves, d_outputs, retain_graph=True)


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
    peers = {"torch": _gradients(y, leaves, d_outputs)}
    results = (d_inputs, d_gamma, d_beta)
    bench.add("layer_norm backward", shape, dtype, backward, results, peers, 3 * size)


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
            {"torch": _gradients(plain(*leaves), leaves, d_outputs)},
            3 * size,
        )


def embedding(bench, batch, time, dim, vocabulary):
    dtype = torch.float32
    shape = f"{batch} x {time} x {dim}"
    token_ids = torch.randint(vocabulary, (batch, time), device=bench.device, dtype=torch.int32)
    start = torch.zeros((), device=bench.device, dtype=torch.int32)
    table = bench.normal(vocabulary, dim)
    outputs, d_outputs = (bench.normal(batch, time, dim) for _ in range(2))
    d_table = torch.empty_like(table)
    long_ids = token_ids.long()
    size = batch * time * dim * 4
    bench.add(
        "embedding forward",
        shape,
        dtype,
        lambda: bench.kernels.embedding_forward(token_ids, start, table, outputs),
        (outputs,),
        bench.peers(F.embedding, long_ids, table),
        2 * size,
    )
    leaf = table.clone().requires_grad_()
    peers = {"torch": _gradients(F.embedding(long_ids, leaf), [leaf], d_outputs)}
    for name, deterministic in (("atomics", False), ("deterministic", True)):
        bench.add(
            f"embedding backward, {name}"[:26],
            shape,
            dtype,
            lambda deterministic=deterministic: bench.kernels.embedding_backward(
                token_ids, start, d_outputs, d_table, deterministic=deterministic
            ),
            (d_table,),
            peers,
            size + 4 * table.numel(),
        )


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
        {"torch cuDNN": _gradients(peer(leaf)[0], [leaf, *weights[:3]], d_outputs)},
        2 * size,
        2 * flops,
    )


def _sdpa(bench, query, key, value, **options):
    """PyTorch's attention by each backend that takes these, a dict of name -> function."""
    backends = {"torch": SDPBackend.MATH}
    if bench.device == "cuda":
        backends = {
            "torch flash": SDPBackend.FLASH_ATTENTION,
            "torch cuDNN": SDPBackend.CUDNN_ATTENTION,
        }
    result = {}
    for name, backend in backends.items():

        def call(backend=backend):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(query, key, value, **options)

        try:
            call()
            result[name] = call
        except RuntimeError as error:  # the backend does not take these: the other is left
            print(f"{name}: {error}".splitlines()[0][:200])
    if not result:  # what PyTorch chooses itself
        result["torch"] = lambda: F.scaled_dot_product_attention(query, key, value, **options)
    return result


def attention(bench, batch, length, heads, dim, causal, dtype):
    shape = f"{batch}x{length}x{heads}x{dim}{' c' if causal else ''}"
    query, key, value, d_outputs = (
        bench.normal(batch, length, heads, dim, dtype=dtype) for _ in range(4)
    )
    outputs, d_query, d_key, d_value = (torch.empty_like(query) for _ in range(4))
    log_sum_exp = torch.empty(batch, heads, length, device=bench.device)
    scale = dim**-0.5
    size = query.numel() * query.element_size()
    flops = 4 * batch * heads * length * length * dim // (2 if causal else 1)
    leaves = [v.transpose(1, 2).detach().requires_grad_() for v in (query, key, value)]
    functions = _sdpa(bench, *leaves, is_causal=causal)
    results = outputs.transpose(1, 2)
    bench.add(
        "attention forward",
        shape,
        dtype,
        lambda: bench.kernels.attention_forward(
            query, key, value, outputs, log_sum_exp, scale, causal=causal
        ),
        (results,),
        functions,
        4 * size,
        flops,
    )
    d_results = d_outputs.transpose(1, 2)
    backward = {}
    for name, call in functions.items():
        gradients = _gradients(call(), leaves, d_results)
        try:
            gradients()
            backward[name] = gradients
        except RuntimeError as error:  # forward only
            print(f"{name}, backward: {error}".splitlines()[0][:200])
    for name, deterministic in (("atomics", False), ("deterministic", True)):
        bench.add(
            f"attention backward, {name}"[:26],
            shape,
            dtype,
            lambda deterministic=deterministic: bench.kernels.attention_backward(
                query,
                key,
                value,
                outputs,
                log_sum_exp,
                d_outputs,
                d_query,
                d_key,
                d_value,
                scale,
                deterministic=deterministic,
                causal=causal,
            ),
            [v.transpose(1, 2) for v in (d_query, d_key, d_value)],
            backward,
            8 * size,
            flops * 5 // 2,
        )


def decode_attention(bench, batch, length, heads, kv_heads, dim, dtype):
    shape = f"{batch}x{length}x{heads}/{kv_heads}x{dim}"
    query = bench.normal(batch, 1, heads, dim, dtype=dtype)
    keys, values = (bench.normal(batch, kv_heads, length, dim, dtype=dtype) for _ in range(2))
    outputs = torch.empty_like(query)
    group = heads > kv_heads
    bench.add(
        "decode attention",
        shape,
        dtype,
        lambda: bench.kernels.cached_attention(query, keys, values, outputs, dim**-0.5, length - 1),
        (outputs.transpose(1, 2),),
        _sdpa(bench, query.transpose(1, 2), keys, values, enable_gqa=group),
        2 * keys.numel() * keys.element_size(),
    )


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
