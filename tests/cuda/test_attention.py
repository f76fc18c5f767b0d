"""Attention on the GPU against float64 and PyTorch's plain operations."""

import itertools
import math
from dataclasses import dataclass, field

import pytest
import torch
from checking import Results, check_error, dropout_factors, run

SEED = (11, -5)
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@dataclass
class Case:
    """Sizes and options; `mask`: its dtype, whether it is of one head, whether of one query."""

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
    "grouped": Case(2, 70, 280, 4, 2, 64, options={"causal": True, "rate": 0.2}, offset=(210, 100)),
    "grouped window": Case(1, 161, 150, 4, 1, 128, options={"window": 40}),
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


def check_backward(kernels, inputs, forward, wide, reference, plain, plain_outputs, name):
    """Both forms: the deterministic one has the same bits in every run, and the keys' and values'
    gradients of the other have them, too."""
    sources = {"d_query": inputs.query, "d_key": inputs.key, "d_value": inputs.value}
    shapes = {key: (tuple(tensor.shape), inputs.dtype) for key, tensor in sources.items()}
    outputs, log_sum_exp = forward["outputs"].clone(), forward["log_sum_exp"].clone()
    gradients = torch.autograd.grad(reference, wide, inputs.d_outputs.double())
    plain_gradients = torch.autograd.grad(plain_outputs, plain, inputs.d_outputs)
    for deterministic in (True, False):
        results = Results(inputs.device, **shapes)

        def launch(results=results, deterministic=deterministic):
            kernels.attention_backward(
                *sources.values(),
                outputs,
                log_sum_exp,
                inputs.d_outputs,
                *results.tensors.values(),
                deterministic=deterministic,
                **inputs.options,
            )

        run(kernels, results, launch, varies=() if deterministic else ("d_query",))
        for key, gradient, plain_gradient in zip(sources, gradients, plain_gradients, strict=True):
            case = f"{key} {name} {inputs.dtype}{'' if deterministic else ' by atomics'}"
            check_error(case, results[key], gradient, plain_gradient)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_forward_and_backward(kernels, dtype, name):
    inputs = Inputs(CASES[name], dtype, kernels.device)
    check_backward(kernels, inputs, *check_forward(kernels, inputs, f"{name} {dtype}"), name)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("limit", [65536, 101376])
def test_gpus_with_less_shared_memory(kernels, dtype, limit):
    """64 KB of sm_75 and 99 KB of sm_86: fewer rows, or no second stage."""
    if kernels.device != "cpu":
        pytest.skip("the GPU has the shared memory that it has")
    kernels.set_shared_limit(limit)
    try:
        for dim in (64, 128, 256):
            options = {"causal": True, "rate": 0.25}
            inputs = Inputs(Case(1, 50, 45, 2, 1, dim, options=options), dtype, kernels.device)
            name = f"{limit} bytes, head of {dim}"
            check_backward(kernels, inputs, *check_forward(kernels, inputs, name, 1), name)
    finally:
        kernels.set_shared_limit(1 << 30)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_padding_as_a_mask_has_the_bits_of_lengths(kernels, dtype):
    """Of all true, some, none; and a hole among them is seen all the same."""
    lengths = (150, 70, 0, 1)
    by_lengths = Inputs(Case(4, 20, 150, 2, 1, 64, lengths=lengths), dtype, kernels.device)
    by_mask = Inputs(Case(4, 20, 150, 2, 1, 64), dtype, kernels.device)
    keys = torch.arange(150, device=kernels.device)
    mask = (keys < torch.tensor(lengths, device=kernels.device)[:, None])[:, None, None]
    by_mask.options["mask"] = mask.contiguous()
    bits = []
    for inputs in (by_lengths, by_mask):
        results = inputs.results()
        run(kernels, results, lambda i=inputs, r=results: launch_forward(kernels, i, r))
        gradients = [torch.empty_like(v) for v in (inputs.query, inputs.key, inputs.value)]
        kernels.attention_backward(
            *(inputs.query, inputs.key, inputs.value, *results.tensors.values()),
            inputs.d_outputs,
            *gradients,
            **inputs.options,
        )
        bits.append([*results.copies().values(), *gradients])
    assert all(torch.equal(*pair) for pair in zip(*bits, strict=True))
    mask[1, ..., 5] = False
    hole = by_mask.results()
    by_mask.options["mask"] = mask.contiguous()
    launch_forward(kernels, by_mask, hole)
    same = (hole["outputs"] == bits[0][0]).flatten(1).all(1).tolist()
    assert same == [True, False, True, True]


def launch_forward(kernels, inputs, results):
    kernels.attention_forward(
        *(inputs.query, inputs.key, inputs.value, *results.tensors.values()), **inputs.options
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_dropout_keeps_is_the_cpus_choice(kernels, dtype):
    """With the identity as values, the outputs are the probabilities that were kept."""
    for case in (
        Case(2, 70, 60, 2, 1, 64, options={"rate": 0.4}),
        Case(1, 40, 128, 1, 1, 128, options={"rate": 0.1}),
    ):
        inputs = Inputs(case, dtype, kernels.device)
        inputs.query.mul_(0.1)
        dim = inputs.value.shape[-1]
        assert case.key_length <= dim
        eye = torch.eye(case.key_length, dim, device=kernels.device)
        inputs.value = eye[None, :, None].expand_as(inputs.value).to(dtype).contiguous()
        results = inputs.results()
        kernels.attention_forward(
            inputs.query, inputs.key, inputs.value, *results.tensors.values(), **inputs.options
        )
        kept = results["outputs"].transpose(1, 2)[..., : case.key_length] != 0
        assert torch.equal(kept, inputs.factors != 0)


@pytest.mark.parametrize("dim", [59, 128])
def test_length_1025(kernels, dim):
    """Many tiles, and one key and one query in the last of them."""
    case = Case(1, 1025 if kernels.device == "cuda" else 129, 1025, 1, 1, dim)
    inputs = Inputs(case, torch.bfloat16, kernels.device)
    check_backward(kernels, inputs, *check_forward(kernels, inputs, f"1025 x {dim}", 1), "1025")


def test_large_scores_neither_overflow_nor_vanish(kernels):
    case = Case(1, 33, 70, 1, 1, 64, options={"scale": 30.0})
    inputs = Inputs(case, torch.float16, kernels.device)
    results = inputs.results()
    arguments = (inputs.query, inputs.key, inputs.value, *results.tensors.values())
    kernels.attention_forward(*arguments, **inputs.options)
    reference, log_sum_exp = inputs.plain(
        inputs.query.double(), inputs.key.double(), inputs.value.double()
    )
    torch.testing.assert_close(results["outputs"].double(), reference, atol=5e-3, rtol=0)
    torch.testing.assert_close(results["log_sum_exp"].double(), log_sum_exp, atol=1e-3, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_query_with_a_nan_is_nan_and_no_other(kernels, dtype):
    inputs = Inputs(Case(1, 40, 50, 2, 1, 64), dtype, kernels.device)
    inputs.query[0, 7, 1, 3] = math.nan
    results = inputs.results()
    arguments = (inputs.query, inputs.key, inputs.value, *results.tensors.values())
    kernels.attention_forward(*arguments, **inputs.options)
    bad = torch.zeros(1, 40, 2, dtype=torch.bool, device=kernels.device)
    bad[0, 7, 1] = True
    assert torch.equal(results["outputs"].isnan().all(-1), bad)
    assert torch.equal(results["outputs"].isnan().any(-1), bad)


def test_what_lies_behind_a_length_is_not_read(kernels):
    case = Case(2, 20, 90, 1, 1, 64, lengths=(70, 13))
    inputs = Inputs(case, torch.bfloat16, kernels.device)
    for batch, length in enumerate(case.lengths):
        inputs.key[batch, length:] = math.nan
        inputs.value[batch, length:] = math.nan
    results = inputs.results()
    arguments = (inputs.query, inputs.key, inputs.value, *results.tensors.values())
    kernels.attention_forward(*arguments, **inputs.options)
    assert not results["outputs"].isnan().any()
    for deterministic in (True, False):
        gradients = [torch.full_like(v, math.nan) for v in arguments[:3]]
        kernels.attention_backward(
            *(*arguments, inputs.d_outputs, *gradients),
            deterministic=deterministic,
            **inputs.options,
        )
        assert not gradients[0].isnan().any()


def test_lengths_and_offsets_out_of_range_are_taken_into_it(kernels):
    inside = Case(2, 20, 30, 1, 1, 64, lengths=(30, 0), offset=(0, 5), options={"causal": True})
    expected, got = [], []
    for lengths, offset, results in (
        ((30, 0), (0, 5), expected),
        ((1000, -4), (-9, 5), got),
    ):
        inputs = Inputs(inside, torch.bfloat16, kernels.device)
        for name, values in (("lengths", lengths), ("query_offset", offset)):
            inputs.options[name] = torch.tensor(values, dtype=torch.int32, device=kernels.device)
        made = inputs.results()
        arguments = (inputs.query, inputs.key, inputs.value, *made.tensors.values())
        kernels.attention_forward(*arguments, **inputs.options)
        results.append(made["outputs"].clone())
    assert torch.equal(expected[0], got[0])


def test_empty_tensors_and_what_is_not_served(kernels):
    for sizes in ((0, 5, 7), (2, 0, 7), (2, 5, 0)):
        inputs = Inputs(Case(*sizes, 2, 1, 8), torch.float32, kernels.device)
        results = inputs.results()
        arguments = (inputs.query, inputs.key, inputs.value, *results.tensors.values())
        kernels.attention_forward(*arguments, **inputs.options)
        assert not results["outputs"].any()
        assert (results["log_sum_exp"] == -math.inf).all()
    for sizes in ((0, 5, 7), (2, 0, 7), (2, 5, 0)):
        for dtype, deterministic in itertools.product(DTYPES, (True, False)):
            inputs = Inputs(Case(*sizes, 2, 1, 8), dtype, kernels.device)
            arguments = (inputs.query, inputs.key, inputs.value, *inputs.results().tensors.values())
            gradients = [torch.full_like(v, math.nan) for v in arguments[:3]]
            kernels.attention_backward(
                *(*arguments, inputs.d_outputs, *gradients),
                deterministic=deterministic,
                **inputs.options,
            )
            assert not any(gradient.any() for gradient in gradients)
    inputs = Inputs(Case(1, 2, 2, 1, 1, 257), torch.float32, kernels.device)
    results = inputs.results()
    arguments = (inputs.query, inputs.key, inputs.value, *results.tensors.values())
    with pytest.raises(RuntimeError, match="not supported"):
        kernels.attention_forward(*arguments, **inputs.options)
