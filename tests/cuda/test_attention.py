"""Attention on the GPU against float64 and PyTorch's plain operations."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from checking import Results, check_error, dropout_factors, run

SEED = (11, -5)
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@dataclass
class Case:
    """Sizes, and options of the launcher; `mask`: its dtype and whether it is of one head, query."""

    batch: int
    query_length: int
    key_length: int
    heads: int
    kv_heads: int
    dim: int
    value_dim: int = 0
    options: dict = field(default_factory=dict)
    lengths: tuple = ()
    offset: tuple = ()
    query_mask: bool = False
    mask: tuple = ()


CASES = {
    "one": Case(1, 1, 1, 1, 1, 1),
    "odd": Case(2, 97, 70, 2, 1, 59),
    "causal": Case(1, 150, 150, 2, 2, 64, options={"causal": True}),
    "offset": Case(2, 3, 97, 4, 2, 64, options={"causal": True}, offset=(94, 40)),
    "window": Case(1, 97, 97, 1, 1, 32, options={"window": 20}),
    "causal window": Case(1, 161, 161, 1, 1, 16, options={"window": 33, "causal": True}),
    "lengths": Case(3, 40, 97, 2, 1, 128, lengths=(97, 0, 33)),
    "bools": Case(2, 33, 80, 2, 2, 64, mask=(torch.bool, True, False)),
    "padding": Case(2, 33, 80, 2, 2, 24, mask=(torch.bool, True, True)),
    "added": Case(2, 20, 45, 2, 2, 128, mask=(torch.float32, False, False)),
    "added half": Case(1, 20, 45, 3, 1, 40, mask=(torch.bfloat16, True, False)),
    "cap": Case(1, 70, 70, 1, 1, 64, options={"soft_cap": 5.0, "causal": True}),
    "query mask": Case(2, 50, 40, 1, 1, 64, query_mask=True),
    "dropout": Case(2, 70, 90, 2, 1, 64, options={"rate": 0.3}),
    "all": Case(
        2,
        37,
        75,
        4,
        2,
        48,
        options={"causal": True, "window": 30, "soft_cap": 8.0, "rate": 0.2},
        lengths=(75, 50),
        offset=(30, 7),
        query_mask=True,
        mask=(torch.float16, True, False),
    ),
    "values are wider": Case(1, 40, 33, 1, 1, 48, 128),
    "keys are wider": Case(1, 40, 33, 2, 1, 128, 20, options={"causal": True}),
    "head of 96": Case(1, 140, 70, 1, 1, 96, options={"rate": 0.1}),
    "head of 192": Case(1, 70, 60, 2, 1, 192, options={"causal": True}),
    "head of 256": Case(1, 70, 40, 2, 1, 256, options={"causal": True, "rate": 0.1}),
    "negative scale": Case(1, 20, 40, 1, 1, 64, options={"scale": -0.2}),
}


class Inputs:
    """The tensors of a case."""

    def __init__(self, case, dtype, device, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=generator).to(dtype).to(device)

        def whole(values):
            return torch.tensor(values, dtype=torch.int32, device=device) if values else None

        value_dim = case.value_dim or case.dim
        self.case, self.device, self.dtype = case, device, dtype
        self.query = normal(case.batch, case.query_length, case.heads, case.dim)
        self.key = normal(case.batch, case.key_length, case.kv_heads, case.dim)
        self.value = normal(case.batch, case.key_length, case.kv_heads, value_dim)
        self.d_outputs = normal(case.batch, case.query_length, case.heads, value_dim)
        options = {"scale": 1.0 / math.sqrt(case.dim), **case.options}
        options["lengths"], options["query_offset"] = whole(case.lengths), whole(case.offset)
        if case.query_mask:
            options["query_mask"] = (
                torch.rand(case.batch, case.query_length, generator=generator) < 0.7
            ).to(device)
        if case.mask:
            mask_dtype, one_head, one_query = case.mask
            shape = (
                case.batch,
                1 if one_head else case.heads,
                1 if one_query else case.query_length,
                case.key_length,
            )
            mask = torch.randn(*shape, generator=generator)
            if mask_dtype == torch.bool:
                mask = mask < 0.8
                mask[0, 0, 0] = False  # a row that sees nothing
            options["mask"] = mask.to(mask_dtype).to(device)
        if options.get("rate"):
            options["seed"] = torch.tensor(SEED, dtype=torch.int32, device=device)
        self.options = options
        rows = case.batch * case.heads * case.query_length
        self.factors = None
        if options.get("rate"):
            self.factors = dropout_factors(options["rate"], SEED, rows, case.key_length)
            self.factors = self.factors.view(
                case.batch, case.heads, case.query_length, case.key_length
            ).to(device)

    def seen(self):
        """(batch, heads or 1, query_length, key_length): what a query sees."""
        case, options, device = self.case, self.options, self.device
        place = torch.arange(case.query_length, device=device)[None, None, :, None]
        if options["query_offset"] is not None:
            place = place + options["query_offset"].long()[:, None, None, None]
        key = torch.arange(case.key_length, device=device)[None, None, None, :]
        seen = torch.ones(case.batch, 1, case.query_length, case.key_length, dtype=torch.bool)
        seen = seen.to(device)
        if options["lengths"] is not None:
            seen = seen & (key < options["lengths"].long()[:, None, None, None])
        if options.get("causal"):
            seen = seen & (key <= place)
        if window := options.get("window"):
            seen = seen & (place - key < window) & (key - place < window)
        if "query_mask" in options:
            seen = seen & options["query_mask"][:, None, :, None]
        if case.mask and case.mask[0] == torch.bool:
            seen = seen & options["mask"]
        return seen

    def plain(self, query, key, value):
        """Outputs and log-sum-exp in the dtype given, by PyTorch's operations."""
        case, options = self.case, self.options
        group = case.heads // case.kv_heads
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        k, v = (x.repeat_interleave(group, 1) for x in (k, v))
        scores = (q @ k.transpose(-1, -2)) * options["scale"]
        if cap := options.get("soft_cap"):
            scores = cap * torch.tanh(scores / cap)
        if case.mask and case.mask[0] != torch.bool:
            scores = scores + options["mask"].to(scores.dtype)
        seen = self.seen()
        scores = scores.masked_fill(~seen, -math.inf)
        any_seen = seen.any(-1, keepdim=True)
        weights = torch.softmax(scores.masked_fill(~any_seen, 0.0), -1).masked_fill(~seen, 0.0)
        if self.factors is not None:
            weights = weights * self.factors.to(weights.dtype)
        outputs = (weights @ v).transpose(1, 2)
        return outputs, torch.logsumexp(scores, -1)

    def results(self):
        case = self.case
        rows = (case.batch, case.heads, case.query_length)
        return Results(
            self.device,
            outputs=(tuple(self.d_outputs.shape), self.dtype),
            log_sum_exp=(rows, torch.float32),
        )


def check_forward(kernels, inputs, name, repeats=None):
    results = inputs.results()
    arguments = (inputs.query, inputs.key, inputs.value, results["outputs"])
    run(
        kernels,
        results,
        lambda: kernels.attention_forward(*arguments, results["log_sum_exp"], **inputs.options),
        repeats,
    )
    wide = [x.double().requires_grad_() for x in (inputs.query, inputs.key, inputs.value)]
    plain = [x.clone().requires_grad_() for x in (inputs.query, inputs.key, inputs.value)]
    reference, log_sum_exp = inputs.plain(*wide)
    plain_outputs, plain_log_sum_exp = inputs.plain(*plain)
    check_error(f"outputs {name}", results["outputs"], reference.detach(), plain_outputs.detach())
    infinite = log_sum_exp == -math.inf
    assert torch.equal(results["log_sum_exp"] == -math.inf, infinite), name
    assert not results["outputs"].transpose(1, 2)[infinite].any(), name
    kept = [x.masked_fill(infinite, 0.0) for x in (results["log_sum_exp"], log_sum_exp.detach())]
    # PyTorch's in half precision is no measure: ours stays in float32.
    check_error(f"log_sum_exp {name}", *kept, plain_log_sum_exp.masked_fill(infinite, 0.0).detach())
    return results, wide, reference, plain, plain_outputs


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_forward_and_backward(kernels, dtype, name):
    inputs = Inputs(CASES[name], dtype, kernels.device)
    check_forward(kernels, inputs, f"{name} {dtype}")
