"""The embedding, its gradient by atomics and in one order."""

import torch
import torch.nn.functional as F

from benchmarks.cuda.bench import gradients


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
    peers = {"torch": gradients(F.embedding(long_ids, leaf), [leaf], d_outputs)}
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
