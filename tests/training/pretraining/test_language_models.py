"""Which model a budget is spent on."""

import numpy as np
import pytest

from kerasllm.data import TokenCache
from kerasllm.training.pretraining import memory
from kerasllm.training.pretraining.language_models import MODELS, choose_language_model
from kerasllm.training.pretraining.memory import (
    fit_batch_into_memory,
    free_memory,
    rows_in_memory,
)


def corpus(tokens, documents):
    starts = np.linspace(0, tokens, documents + 1).astype(np.int64)
    return TokenCache({"token_ids": None}, starts, documents, tokens, tokens, "", None)


@pytest.mark.parametrize("model", MODELS)
def test_more_time_gives_larger_models(model):
    shapes = [
        choose_language_model(model, 100, corpus(10**9, 10), flops)
        for flops in (1e12, 1e14, 1e16, 1e18, 1e20)
    ]
    weights = [shape.weights() for shape in shapes]
    assert weights == sorted(weights) and weights[-1] > 100 * weights[0]
    rates = [shape.learning_rate for shape in shapes]
    assert rates == sorted(rates, reverse=True)
    batches = [shape.batch_size * shape.length for shape in shapes]
    assert batches == sorted(batches)


def test_dropout_grows_with_repetition():
    rates = [
        choose_language_model("modern", 100, corpus(tokens, 10), 1e14).dropout
        for tokens in (10**8, 4 * 10**6, 10**6, 10**4)
    ]
    assert rates == sorted(rates) and rates[0] == 0 and rates[-1] > 0


def test_rows_follow_documents():
    short = choose_language_model("modern", 5000, corpus(400_000, 12_000), 1e14)
    long = choose_language_model("modern", 5000, corpus(400_000, 1), 1e14)
    assert short.length == 64 and long.length >= 128


def test_what_is_given_is_taken():
    given = {"hidden_dim": 320, "num_layers": 3, "length": 96, "batch_size": 7, "dropout": 0.25}
    shape = choose_language_model("gpt", 100, corpus(10**6, 1), 1e14, learning_rate=None, **given)
    assert {name: getattr(shape, name) for name in given} == given
    with pytest.raises(ValueError, match="There is no model 'rnn'"):
        choose_language_model("rnn", 100, corpus(10**6, 1), 1e14)


@pytest.mark.parametrize("model", MODELS)
def test_batches_are_bounded_by_memory(model):
    """A day on a GPU of 700 TFLOP/s and 80 GB chose batches that took more than it has."""
    shape = choose_language_model(model, 32_000, corpus(10**10, 10**5), 0.36 * 7e14 * 86_400)
    rows = rows_in_memory(shape, 80e9, "mixed_bfloat16")
    # Eight vectors of 2 bytes a token and layer are the least, besides 16 bytes a weight.
    saved = 8 * 2 * shape.num_layers * shape.hidden_dim * shape.length
    assert 1 <= rows and rows * saved + 16 * shape.weights() < 80e9
    assert rows_in_memory(shape, 160e9, "mixed_bfloat16") > 2 * rows
    assert rows_in_memory(shape, 80e9, "float32") < rows
    assert rows_in_memory(shape, 1e6) == 1
    assert free_memory() is None or free_memory() > 1e6


@pytest.mark.parametrize("free, expected", [(1e12, 48), (4e7, 16), (None, 48)])
def test_batch_is_made_smaller_where_memory_is_short(monkeypatch, free, expected):
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    sizes = {"hidden_dim": 64, "num_layers": 2, "length": 128, "batch_size": 48}
    shape, said = choose_language_model("gpt", 100, corpus(10**6, 1), 1e14, **sizes), []
    fit_batch_into_memory(shape, say=said.append)
    assert shape.batch_size == expected and len(said) == (expected != 48)


@pytest.mark.parametrize("model", MODELS)
def test_shape_counts_its_weights(model):
    shape = choose_language_model(model, 50, corpus(10**6, 1), 1e12)
    built = shape.build()
    matrices = sum(int(np.prod(w.shape)) for w in built.trainable_weights if len(w.shape) > 1)
    assert shape.weights() == pytest.approx(matrices, rel=0.15)
    inside = shape.flops_per_token(built)
    assert inside == pytest.approx(shape.flops_per_token(), rel=0.15)
