import pytest
import torch
import torch.nn.functional as F
from checking import Results, check_error, run, shapes

# (rows, vocabulary, dim)
SHAPES = [(1, 1, 1), (3, 257, 59), (97, 1025, 64), (300, 520, 24)]
GPU_SHAPES = [(1031, 21128, 768), (5000, 32001, 512), (1, 50257, 768)]
IGNORE = -100
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
FORMS = {
    "plain": {},
    "bias": {"bias": True},
    "ignored": {"bias": True, "ignored": 0.4},
    "smoothing": {"bias": True, "ignored": 0.2, "smoothing": 0.1},
    "z-loss": {"z_loss": 0.01, "ignored": 0.2},
    "both": {"bias": True, "smoothing": 0.3, "z_loss": 0.001},
}


def composed(hidden, kernel, bias, labels, smoothing, z_loss):
    """The losses, in the dtype of the tensors up to the logits and in float32 from there."""
    logits = hidden @ kernel.T
    logits = logits if logits.dtype == torch.float64 else logits.float()
    logits = logits if bias is None else logits + bias
    losses = F.cross_entropy(
        logits, labels.long(), ignore_index=IGNORE, label_smoothing=smoothing, reduction="none"
    )
    log_sum_exp = torch.logsumexp(logits, -1)
    counts = labels != IGNORE
    losses = losses + torch.where(counts, z_loss * log_sum_exp.square(), 0.0)
    return losses, torch.where(counts, log_sum_exp, 0.0), logits


class Case:
    """Random tensors of one shape, what float64 makes of them and what PyTorch does."""

    def __init__(self, device, dtype, rows, vocabulary, dim, form, seed=0):
        generator = torch.Generator().manual_seed(rows * 7 + vocabulary + dim + seed)

        def normal(*shape, scale=1.0):
            return torch.randn(*shape, generator=generator) * scale

        options = FORMS[form]
        self.name = f"{form} {dtype} {rows} x {vocabulary} x {dim}"
        self.hidden = normal(rows, dim).to(dtype).to(device)
        self.kernel = normal(vocabulary, dim, scale=2 * dim**-0.5).to(dtype).to(device)
        self.bias = normal(vocabulary).to(device) if options.get("bias") else None
        labels = torch.randint(vocabulary, (rows,), generator=generator, dtype=torch.int32)
        ignored = torch.rand(rows, generator=generator) < options.get("ignored", 0.0)
        self.labels = torch.where(ignored, IGNORE, labels).to(torch.int32).to(device)
        self.smoothing, self.z_loss = options.get("smoothing", 0.0), options.get("z_loss", 0.0)
        self.options = (IGNORE, self.smoothing, self.z_loss)
        self.weights = normal(rows).to(device)
        self.names = ["d_hidden_states", "d_kernel"] + ["d_bias"] * (self.bias is not None)

    def forward_results(self, saves):
        rows, device = ((len(self.labels),), torch.float32), self.hidden.device
        more = {}
        if saves:
            leaves = [self.hidden, self.kernel] + [self.bias] * (self.bias is not None)
            more = {n: (v.shape, torch.float32) for n, v in zip(self.names, leaves, strict=True)}
        return Results(device, losses=rows, correct=(rows[0], torch.bool), log_sum_exp=rows, **more)

    def backward_results(self):
        dtype, more = self.hidden.dtype, {}
        if self.bias is not None:
            more = {"d_bias": (self.bias.shape, torch.float32)}
        return Results(
            self.hidden.device,
            d_hidden_states=(self.hidden.shape, dtype),
            d_kernel=(self.kernel.shape, dtype),
            **more,
        )

    def forward(self, kernels, results):
        t = results.tensors
        kernels.linear_cross_entropy_forward(
            self.hidden,
            self.kernel,
            self.labels,
            t["losses"],
            t["correct"],
            t["log_sum_exp"],
            bias=self.bias,
            gradients=gradients_of(t),
            options=self.options,
        )

    def backward(self, kernels, results, d_losses, saved=None):
        kernels.linear_cross_entropy_backward(
            self.hidden,
            self.kernel,
            self.labels,
            d_losses,
            gradients_of(results.tensors),
            bias=self.bias,
            saved=saved,
            options=self.options,
        )

    def expected(self, d_losses, dtype):
        """Losses, log-sum-exp, logits and gradients, computed in `dtype`."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        leaves = [self.hidden.to(dtype), self.kernel.to(dtype)]
        leaves += [] if self.bias is None else [self.bias.to(wide)]
        leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        bias = None if self.bias is None else leaves[2]
        losses, log_sum_exp, logits = composed(
            leaves[0], leaves[1], bias, self.labels, self.smoothing, self.z_loss
        )
        weights = torch.where(self.labels != IGNORE, d_losses, 0.0).to(wide)
        gradients = torch.autograd.grad(losses, leaves, weights)
        return losses.detach(), log_sum_exp.detach(), logits.detach(), gradients


def gradients_of(tensors):
    return tuple(tensors.get(name) for name in ("d_hidden_states", "d_kernel", "d_bias"))


def check_gradients(case, results, reference, plain):
    for name, wide, theirs in zip(case.names, reference, plain, strict=True):
        check_error(f"{name} {case.name}", results[name], wide, theirs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_forward_and_backward(kernels, dtype, form):
    for shape in shapes(kernels, SHAPES, GPU_SHAPES):
        check(kernels, Case(kernels.device, dtype, *shape, form))


def check(kernels, case):
    ones = torch.ones_like(case.weights)
    dtype = case.hidden.dtype
    wide = case.expected(ones, torch.float64)
    plain = case.expected(ones, dtype)
    repeats = 2 if kernels.device == "cpu" else None
    saved = case.forward_results(True)
    run(kernels, saved, lambda: case.forward(kernels, saved), repeats)
    check_error(f"losses {case.name}", saved["losses"], wide[0], plain[0])
    check_error(f"log_sum_exp {case.name}", saved["log_sum_exp"], wide[1], plain[1])
    counts = case.labels != IGNORE
    best = wide[2].topk(min(2, wide[2].shape[1]), -1)
    gap = best.values[:, 0] - best.values[:, -1]
    clear = counts & ((gap > 1e-4) | (wide[2].shape[1] == 1))
    assert torch.equal(saved["correct"][clear], (best.indices[:, 0] == case.labels)[clear])
    assert not saved["correct"][~counts].any()
    check_gradients(case, saved, wide[3], plain[3])

    unsaved = case.forward_results(False)
    case.forward(kernels, unsaved)
    for name in ("losses", "correct", "log_sum_exp"):
        assert torch.equal(unsaved[name], saved[name]), name
    unsaved.check_guards()

    # One factor for all rows that count, whatever the others have: what was saved is scaled.
    d_losses = torch.where(counts, 0.25, torch.nan)
    kept = gradients_of(saved.copies())
    for gradients in (kept, None):
        results = case.backward_results()
        run(
            kernels,
            results,
            lambda r=results, g=gradients: case.backward(kernels, r, d_losses, g),
            repeats,
        )
        check_gradients(case, results, [g * 0.25 for g in wide[3]], [g * 0.25 for g in plain[3]])
    # A factor each: the kernel's gradient is made again.
    wide = case.expected(case.weights, torch.float64)
    plain = case.expected(case.weights, dtype)
    d_losses = torch.where(counts, case.weights, torch.nan)
    for gradients in (kept, None):
        results = case.backward_results()
        run(
            kernels,
            results,
            lambda r=results, g=gradients: case.backward(kernels, r, d_losses, g),
            repeats,
        )
        check_gradients(case, results, wide[3], plain[3])
