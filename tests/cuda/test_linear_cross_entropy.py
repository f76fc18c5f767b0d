import pytest
import torch
import torch.nn.functional as F
from checking import Results, check_error, run, shapes

# (rows, vocabulary, dim)
SHAPES = [(1, 1, 1), (3, 257, 59), (97, 1025, 64), (300, 520, 24)]
GPU_SHAPES = [(1031, 21128, 768), (5000, 32001, 512), (1, 50257, 768)]
IGNORE = -100
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
LARGER = ("ignored", "both")  # forms that the larger shapes are tried with where it is slow
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
    small = SHAPES[:2] + ([SHAPES[2 + list(FORMS).index(form) % 2]] if form in LARGER else [])
    for shape in shapes(kernels, small, GPU_SHAPES):
        check(kernels, Case(kernels.device, dtype, *shape, form))


def check(kernels, case):
    ones = torch.ones_like(case.weights)
    dtype = case.hidden.dtype
    wide = case.expected(ones, torch.float64)
    plain = case.expected(ones, dtype)
    repeats = None
    if kernels.device == "cpu":
        repeats = 2 if len(case.labels) < 100 else 1
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
    kept = gradients_of(saved.copies())
    one_factor = torch.where(counts, 0.25, torch.nan)
    results = case.backward_results()
    run(kernels, results, lambda: case.backward(kernels, results, one_factor, kept), repeats)
    check_gradients(case, results, [g / 4 for g in wide[3]], [g / 4 for g in plain[3]])
    for name in case.names[1:]:
        expected = (saved[name] * 0.25).to(results[name].dtype)
        assert torch.equal(results[name], expected), f"{name}: not what was saved"

    # A factor each: the kernel's gradient is made again.
    wide = case.expected(case.weights, torch.float64)
    plain = case.expected(case.weights, dtype)
    factors = torch.where(counts, case.weights, torch.nan)
    for gradients in (kept, None):
        run(
            kernels,
            results,
            lambda gradients=gradients: case.backward(kernels, results, factors, gradients),
            repeats,
        )
        check_gradients(case, results, wide[3], plain[3])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_without_tensor_cores(kernels, dtype):
    """As on a GPU whose blocks have too little shared memory for them."""
    if kernels.device != "cpu":
        pytest.skip("a GPU has the memory that it has")
    kernels.set_shared_limit(64 << 10)
    try:
        check(kernels, Case(kernels.device, dtype, 20, 257, 40, "both"))
    finally:
        kernels.set_shared_limit(1 << 30)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_saved_gradients_are_scaled_where_they_lie(kernels, dtype):
    case = Case(kernels.device, dtype, 9, 70, 16, "bias")
    saved = case.forward_results(True)
    case.forward(kernels, saved)
    gradients = gradients_of(saved.tensors)
    for d_losses in (torch.full_like(case.weights, 0.5), case.weights):
        apart = case.backward_results()
        case.backward(kernels, apart, d_losses, gradients)
        within = case.backward_results()
        tensors = within.tensors
        if dtype == torch.float32:
            within.tensors = {n: saved[n].clone() for n in case.names}
            tensors = within.tensors
        else:
            tensors["d_bias"] = saved["d_bias"].clone()
        aliased = tuple(
            tensors[n] if tensors[n].dtype == torch.float32 else saved[n] for n in case.names
        )
        case.backward(kernels, within, d_losses, aliased)
        for name in case.names:
            assert torch.equal(tensors[name], apart[name]), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_row_counts(kernels, dtype):
    case = Case(kernels.device, dtype, 5, 300, 12, "bias")
    case.labels.fill_(IGNORE)
    saved = case.forward_results(True)
    run(kernels, saved, lambda: case.forward(kernels, saved), 2)
    results = case.backward_results()
    for gradients in (gradients_of(saved.tensors), None):
        run(
            kernels,
            results,
            lambda g=gradients: case.backward(kernels, results, case.weights, g),
            2,
        )
        for tensor in (*saved.tensors.values(), *results.tensors.values()):
            assert not tensor.any()


@pytest.mark.parametrize("shape", [(0, 7, 4), (3, 0, 4), (3, 7, 0), (0, 0, 0)], ids=str)
def test_empty(kernels, shape):
    case = Case(kernels.device, torch.float32, *[max(1, size) for size in shape], "bias")
    case.hidden = case.hidden[: shape[0], : shape[2]].contiguous()
    case.kernel = case.kernel[: shape[1], : shape[2]].contiguous()
    case.bias, case.labels = case.bias[: shape[1]], case.labels[: shape[0]]
    case.weights = case.weights[: shape[0]]
    if shape[1] == 0:
        case.labels.fill_(IGNORE)
    saved = case.forward_results(True)
    run(kernels, saved, lambda: case.forward(kernels, saved), 2)
    bias_alone = shape[2] == 0 and shape[0] > 0
    if bias_alone:
        bias = case.bias.double().requires_grad_()
        wide = F.cross_entropy(bias.expand(shape[0], -1), case.labels.long(), reduction="none")
        assert torch.allclose(saved["losses"].double(), wide, atol=1e-6)
        gradients = [
            torch.autograd.grad(wide, bias, v, retain_graph=True)[0]
            for v in (torch.ones_like(wide), case.weights.double())
        ]
        assert torch.allclose(saved["d_bias"].double(), gradients[0], atol=1e-6)
    results = case.backward_results()
    for kept in (gradients_of(saved.tensors), None):
        run(kernels, results, lambda k=kept: case.backward(kernels, results, case.weights, k), 2)
        if bias_alone:
            assert torch.allclose(results["d_bias"].double(), gradients[1], atol=1e-6)
        if 0 in shape[:2]:
            assert not any(tensor.any() for tensor in results.tensors.values())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_label_out_of_range_gives_nan_in_its_row(kernels, dtype):
    case = Case(kernels.device, dtype, 6, 300, 16, "plain")
    case.labels[1], case.labels[4] = 300, -7
    saved = case.forward_results(True)
    case.forward(kernels, saved)
    wrong = [False, True, False, False, True, False]
    assert saved["losses"].isnan().tolist() == wrong
    assert saved["d_hidden_states"].isnan().all(1).tolist() == wrong
    assert not saved["d_hidden_states"][[0, 2, 3, 5]].isnan().any()
    assert not saved["log_sum_exp"].isnan().any() and not saved["correct"][[1, 4]].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_with_a_nan_is_nan_and_no_other(kernels, dtype):
    case = Case(kernels.device, dtype, 6, 300, 16, "bias")
    case.hidden[2, 5] = torch.nan
    saved = case.forward_results(True)
    case.forward(kernels, saved)
    wrong = [False, False, True, False, False, False]
    assert saved["losses"].isnan().tolist() == wrong
    assert saved["d_hidden_states"].isnan().any(1).tolist() == wrong
    assert not saved["correct"][2]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_of_equal_logits_the_first_is_right(kernels, dtype):
    """Equal ones in one thread's columns, in other tiles and in none."""
    vocabulary, dim = 600, 16
    hidden = torch.ones(5, dim, dtype=dtype, device=kernels.device)
    kernel = torch.zeros(vocabulary, dim, dtype=dtype, device=kernels.device)
    kernel[[40, 41, 300, 599]] = 1
    labels = torch.tensor([40, 41, 300, 599, 0], dtype=torch.int32, device=kernels.device)
    case = Case(kernels.device, dtype, 5, vocabulary, dim, "plain")
    case.hidden, case.kernel, case.labels = hidden, kernel, labels
    results = case.forward_results(False)
    case.forward(kernels, results)
    assert results["correct"].tolist() == [True, False, False, False, False]


def test_large_logits_keep_their_digits(kernels):
    case = Case(kernels.device, torch.float32, 4, 260, 8, "plain")
    case.hidden *= 1000
    results = case.forward_results(True)
    case.forward(kernels, results)
    wide = case.expected(torch.ones_like(case.weights), torch.float64)
    assert torch.allclose(results["losses"].double(), wide[0], rtol=1e-5, atol=1e-3)
    assert not any(results[name].isnan().any() for name in case.names)


def test_small_factors_of_float16(kernels):
    """Each gradient is far below float16's smallest number, and their sums are not."""
    case = Case(kernels.device, torch.float16, 64, 200, 8, "plain")
    factors = 1e-6 * (1 + torch.rand_like(case.weights))
    case.hidden *= 100
    results = case.backward_results()
    case.backward(kernels, results, factors)
    wide = case.expected(factors, torch.float64)[3]
    smallest = 2.0**-24
    distance = (results["d_kernel"].double() - wide[1]).abs()
    assert bool((distance <= smallest + 0.01 * wide[1].abs()).all())
