import itertools

import pytest
import torch
from checking import Results, check_error, error, run, shapes

HALF = (torch.bfloat16, torch.float16)
TYPES = [(torch.float32, torch.float32)]
TYPES += [(torch.float32, half) for half in HALF] + [(half, torch.float32) for half in HALF]
TYPES += [(half, half) for half in HALF]
SHAPES = [(1, 1, 1, 3), (3, 7, 59, 11), (4, 97, 64, 5), (2, 130, 136, 300)]
GPU_SHAPES = [(64, 512, 768, 21128), (8, 1025, 1024, 50)]


def make(device, batch, time, dim, vocabulary, table, seed=0):
    generator = torch.Generator().manual_seed(seed + time)

    def normal(rows):
        return torch.randn(rows, dim, generator=generator).to(table).to(device)

    def ids(most):
        values = torch.randint(most, (batch, time), generator=generator, dtype=torch.int32)
        return values.to(device)

    token_ids = ids(vocabulary)
    token_ids[:, time // 2 :] = 0  # padding: one long run
    return {
        "token_ids": token_ids,
        "segment_ids": ids(2),
        "tables": (normal(vocabulary), normal(time + 5), normal(2)),
        "start": torch.tensor(3, dtype=torch.int32, device=device),
    }


def reference(data, positions, segments, to, d_outputs):
    tables = [table.to(to).requires_grad_() for table in data["tables"]]
    token_ids = data["token_ids"].long()
    outputs = tables[0][token_ids]
    if positions:
        start = int(data["start"])
        outputs = outputs + tables[1][start : start + token_ids.shape[1]]
    if segments:
        outputs = outputs + tables[2][data["segment_ids"].long()]
    used = [tables[0], *([tables[1]] if positions else []), *([tables[2]] if segments else [])]
    return outputs.detach(), torch.autograd.grad(outputs, used, d_outputs.to(to))


@pytest.mark.parametrize("table, output", TYPES, ids=lambda t: str(t).split(".")[1])
def test_forward_and_deterministic_backward(kernels, table, output):
    forms = [(True, True), (False, False)]
    for shape, (positions, segments) in itertools.product(
        shapes(kernels, SHAPES, GPU_SHAPES), forms
    ):
        check(kernels, *shape, table, output, positions, segments)


def check(kernels, batch, time, dim, vocabulary, table, output, positions, segments):
    device = kernels.device
    data = make(device, batch, time, dim, vocabulary, table)
    tokens, position_table, segment_table = data["tables"]
    generator = torch.Generator().manual_seed(1)
    d_outputs = torch.randn(batch, time, dim, generator=generator).to(output).to(device)
    wanted, gradients = reference(data, positions, segments, torch.float64, d_outputs)
    plain, plain_gradients = reference(data, positions, segments, table, d_outputs)
    results = Results(
        device,
        outputs=((batch, time, dim), output),
        d_tokens=((vocabulary, dim), table),
        d_positions=((time + 5, dim), table),
        d_segments=((2, dim), table),
    )
    r = results.tensors

    def launch():
        kernels.embedding_forward(
            data["token_ids"],
            data["start"],
            tokens,
            r["outputs"],
            position_table if positions else None,
            segment_table if segments else None,
            data["segment_ids"],
        )
        kernels.embedding_backward(
            data["token_ids"],
            data["start"],
            d_outputs,
            r["d_tokens"],
            r["d_positions"] if positions else None,
            r["d_segments"] if segments else None,
            data["segment_ids"],
        )

    run(kernels, results, launch)
    check_error("outputs", r["outputs"], wanted, plain.to(output))
    names = ["d_tokens"] + ["d_positions"] * positions + ["d_segments"] * segments
    for name, gradient, plain_gradient in zip(names, gradients, plain_gradients, strict=True):
        check_error(name, r[name], gradient, plain_gradient)


@pytest.mark.parametrize("output", [torch.float32, torch.bfloat16], ids=str)
def test_gradient_by_atomic_additions(kernels, output):
    for shape in SHAPES:
        data = make(kernels.device, *shape, torch.float32)
        batch, time, dim, vocabulary = shape
        d_outputs = torch.randn(batch, time, dim).to(output).to(kernels.device)
        _, (gradient,) = reference(data, False, False, torch.float64, d_outputs)
        _, (plain,) = reference(data, False, False, torch.float32, d_outputs)
        results = Results(kernels.device, d_tokens=((vocabulary, dim), torch.float32))
        kernels.embedding_backward(
            data["token_ids"], data["start"], d_outputs, results["d_tokens"], deterministic=False
        )
        results.check_guards()
        scale = 1e-6 * batch * time
        assert error(results["d_tokens"], gradient) <= 2 * error(plain, gradient) + scale


def test_an_id_without_a_row_gives_nan_and_no_gradient(kernels):
    device = kernels.device
    token_ids = torch.tensor([[1, -1, 2], [4, 3, 1]], dtype=torch.int32, device=device)
    start = torch.tensor(0, dtype=torch.int32, device=device)
    table = torch.randn(4, 12).to(device)
    results = Results(
        device, outputs=((2, 3, 12), torch.float32), d_tokens=((4, 12), torch.float32)
    )
    kernels.embedding_forward(token_ids, start, table, results["outputs"])
    for deterministic in (True, False):
        ones = torch.ones(2, 3, 12).to(device)
        kernels.embedding_backward(
            token_ids, start, ones, results["d_tokens"], deterministic=deterministic
        )
        assert results["d_tokens"][:, 0].tolist() == [0, 2, 1, 1]
    results.check_guards()
    assert results["outputs"].isnan().any(-1).tolist() == [
        [False, True, False],
        [True, False, False],
    ]
    late = torch.tensor(2, dtype=torch.int32, device=device)
    good = torch.zeros(2, 3, dtype=torch.int32, device=device)
    kernels.embedding_forward(good, late, table, results["outputs"], positions=table)
    assert results["outputs"][0].isnan().any(-1).tolist() == [False, False, True]
