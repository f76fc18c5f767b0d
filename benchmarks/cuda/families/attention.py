"""Attention, and of one new position, against `scaled_dot_product_attention` by each backend."""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.cuda.bench import gradients


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
        call_backward = gradients(call(), leaves, d_results)
        try:
            call_backward()
            backward[name] = call_backward
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
