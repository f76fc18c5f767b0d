"""choose_tokens against the cut-offs of transformers, and its own draws."""

import numpy as np
import pytest

from kerasllm.generation import Sampling, choose_tokens

CASES = [
    {},
    {"temperature": 0.7},
    {"top_k": 5},
    {"top_p": 0.6},
    {"min_p": 0.2},
    {"temperature": 1.5, "top_k": 9, "top_p": 0.8, "min_p": 0.1},
    {"top_p": 1e-9},
    {"repetition_penalty": 1.7, "top_k": 6},
]


def reference(logits, seen, case):
    """Probabilities by transformers' processors, in their usual order."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    scores = torch.tensor(logits)
    rows = [np.flatnonzero(row) for row in seen]
    if "repetition_penalty" in case:
        processor = transformers.RepetitionPenaltyLogitsProcessor(case["repetition_penalty"])
        for row, ids in enumerate(rows):
            scores[row] = processor(torch.tensor(ids)[None], scores[row : row + 1].clone())[0]
    for name, warper in (
        ("temperature", transformers.TemperatureLogitsWarper),
        ("top_k", transformers.TopKLogitsWarper),
        ("top_p", transformers.TopPLogitsWarper),
        ("min_p", transformers.MinPLogitsWarper),
    ):
        if name in case:
            scores = warper(case[name])(None, scores)
    return torch.softmax(scores, -1).numpy()


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("vocabulary_size", [50, 1500])
def test_draws_have_the_probabilities_of_transformers(case, vocabulary_size):
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (2, vocabulary_size)).astype("float32")
    seen = random.random((2, vocabulary_size)) < 0.3
    expected = reference(logits, seen, case)
    draws = 4000
    # Evenly spaced numbers draw each token in the share of its probability, to one draw.
    uniform = ((np.arange(draws) + 0.5) / draws).astype("float32")
    for row in range(2):
        tokens = np.array(
            choose_tokens(
                np.repeat(logits[row : row + 1], draws, 0),
                uniform,
                Sampling(**case),
                seen=np.repeat(seen[row : row + 1], draws, 0),
            )
        )
        shares = np.bincount(tokens, minlength=vocabulary_size) / draws
        np.testing.assert_allclose(shares, expected[row], atol=1.5 / draws)
        assert (shares[expected[row] == 0] == 0).all()


def test_temperature_0_is_greedy_among_the_allowed():
    logits = np.array([[1.0, 3.0, 2.0]], "float32")
    allowed = np.array([[True, False, True]])
    assert choose_tokens(logits, [0.5], Sampling(0.0)) == 1
    assert choose_tokens(logits, [0.5], Sampling(0.0), allowed=allowed) == 2
    for uniform in (0.0, 0.5, 1 - 2**-24):
        token = choose_tokens(logits, np.float32([uniform]), Sampling(), allowed=allowed)
        assert int(token[0]) in (0, 2)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_ends_of_the_interval_draw_what_is_left(uniform):
    logits = np.log(np.array([[1e-9, 0.3, 0.3, 0.4, 1e-9]], "float32"))
    for sampling in (Sampling(top_k=2), Sampling(top_p=0.5), Sampling(min_p=0.5)):
        assert int(choose_tokens(logits, np.float32([uniform]), sampling)[0]) in (1, 2, 3)


def test_equal_forms_share_a_compiled_function():
    first = Sampling(0.5, top_p=0.9, seed=1).chooser().func
    assert first is Sampling(0.7, top_p=0.8, seed=2).chooser().func
    assert first is not Sampling(0.5, top_p=0.9, top_k=3).chooser().func


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1},
        {"top_k": 1.5},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"repetition_penalty": 0},
    ],
)
def test_numbers_out_of_range_are_named(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} is"):
        Sampling(**bad)
