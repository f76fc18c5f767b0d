"""Perplexity by a sliding window, against the same sums by hand."""

import math

import numpy as np
import pytest

from kerasllm.data import Corpus, LanguageModelEncoder, tokenize_corpus
from kerasllm.evaluation import (
    compare_language_models,
    evaluate_language_model,
    evaluate_language_model_on_files,
    format_language_models,
)
from kerasllm.evaluation.language_model import sliding_windows
from kerasllm.models import LSTMLM, CausalLM
from kerasllm.text import CharVocabularyTokenizer

POEMS = ["明月光", "地上霜明月", "光", "明月地上明月光明月"]


class Unigrams:
    """Each token has its own loss, whatever came before."""

    def token_losses(self, inputs):
        return np.where(inputs["labels"] >= 0, 0.5 + inputs["labels"], 0.0)


class ContextCounter:
    """The loss is the number of tokens of its document that a prediction has seen."""

    def token_losses(self, inputs):
        documents = inputs.get("segment_ids", np.zeros_like(inputs["labels"]))
        seen = (documents[:, :, None] == documents[:, None, :]) & np.tri(
            documents.shape[1], dtype=bool
        )
        return np.where(inputs["labels"] >= 0, seen.sum(axis=2), 0.0)


@pytest.fixture
def tokenizer():
    return CharVocabularyTokenizer.fit(POEMS)


@pytest.fixture
def cache(tokenizer, tmp_path):
    (tmp_path / "poems.txt").write_text("\n".join(POEMS), encoding="utf-8")
    return tokenize_corpus(Corpus(tmp_path), LanguageModelEncoder(tokenizer))


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (5, 5), (7, 3), (22, 11), (500, 3), (4, 1)])
def test_every_token_and_every_end_is_predicted_once(cache, tokenizer, window, stride):
    report = evaluate_language_model(Unigrams(), cache, window, stride, batch_size=2)
    labels = [token for ids in tokenizer.encode(POEMS) for token in (*ids, tokenizer.end_id)]
    nats = sum(0.5 + label for label in labels)
    assert report["tokens"] == len(labels) == len(cache)
    assert report["nats_per_token"] == pytest.approx(nats / len(labels))
    assert report["perplexity"] == pytest.approx(math.exp(nats / len(labels)))
    # A character a token here, and the end of a document counts as the end of its line.
    assert report["nats_per_character"] == pytest.approx(report["nats_per_token"])
    assert report["bits_per_character"] == pytest.approx(nats / len(labels) / math.log(2))
    size = len("".join(poem + "\n" for poem in POEMS).encode())
    assert report["bits_per_byte"] == pytest.approx(nats / math.log(2) / size)


@pytest.mark.parametrize(("window", "stride"), [(6, 2), (10, 5)])
def test_predictions_have_the_context_that_the_window_promises(cache, window, stride):
    contexts = []
    for inputs in sliding_windows(cache, window, stride, batch_size=3):
        seen = ContextCounter().token_losses(inputs)
        contexts += seen[inputs["labels"] >= 0].tolist()
    lengths = np.diff(cache.document_starts)
    whole = [number for length in lengths for number in range(1, length + 1)]
    assert len(contexts) == len(whole)
    for found, possible in zip(contexts, whole, strict=True):
        assert min(possible, window - stride + 1) <= found <= possible


def test_documents_do_not_help_each_other(cache):
    """A trained or random model gives the losses of the documents on their own."""
    model = CausalLM.from_preset(
        "modern", vocabulary_size=9, hidden_dim=16, num_layers=1, num_heads=2, max_length=64
    )
    report = evaluate_language_model(model, cache, window=64)
    nats = 0.0
    for begin, end in zip(cache.document_starts[:-1], cache.document_starts[1:], strict=True):
        ids = [*cache.token_ids[begin:end].tolist(), 0]
        inputs = {"token_ids": np.array([ids[:-1]], np.int32), "labels": np.array([ids[1:]])}
        nats += float(np.sum(np.asarray(model.token_losses(inputs))))
    assert report["nats_per_token"] == pytest.approx(nats / len(cache), rel=1e-5)


def test_files_and_tables(cache, tokenizer, tmp_path):
    report = evaluate_language_model_on_files(Unigrams(), tokenizer, tmp_path / "poems.txt")
    reports = compare_language_models({"one": Unigrams(), "two": ContextCounter()}, cache)
    assert reports["one"] == pytest.approx(report)
    lines = format_language_models(reports).splitlines()
    assert lines[0].startswith("| model | nats per token | perplexity |")
    assert lines[2].startswith(f"| one | {report['nats_per_token']:.3f} |")
    assert len(lines) == 4
    assert "| bits per byte |" in lines[0] and f"| {report['bits_per_byte']:.3f} |" in lines[2]


def test_quick_estimate_ends_early(cache):
    report = evaluate_language_model(Unigrams(), cache, 4, 2, batch_size=1, max_tokens=5)
    assert 5 <= report["tokens"] < len(cache)


@pytest.mark.parametrize("form", ["modern", "lstm"])
def test_label_smoothing_and_z_loss_do_not_count(form, cache):
    """They serve training: the perplexity is that of the probabilities, by the logits."""

    def make(**options):
        if form == "lstm":
            return LSTMLM(9, 16, 16, num_layers=1, **options)
        sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "max_length": 64}
        return CausalLM.from_preset(form, vocabulary_size=9, **sizes, **options)

    model = make(label_smoothing=0.2, **({"z_loss": 0.1} if form == "modern" else {}))
    for weight in model.trainable_variables:
        weight.assign(3 * weight)
    (inputs,) = sliding_windows(cache, 500, 250, batch_size=1)
    logits = np.asarray(model.logits(inputs["token_ids"], inputs["segment_ids"]), np.float64)[0]
    rows = np.arange(len(logits))
    expected = np.log(np.exp(logits).sum(-1)) - logits[rows, inputs["labels"][0]]
    found = np.asarray(model.token_losses(inputs))[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    report = evaluate_language_model(model, cache, window=500)
    assert report["perplexity"] == pytest.approx(np.exp(expected.mean()), rel=1e-4)
    # Training has them.
    smoothed = np.asarray(model(inputs, training=True)[0])[0]
    assert np.abs(smoothed - expected).max() > 0.01


def test_senseless_window_or_stride_is_refused(cache):
    with pytest.raises(ValueError, match="stride is 0; expected 1 to 8"):
        evaluate_language_model(Unigrams(), cache, 8, 0)
    with pytest.raises(ValueError, match="window is 0; expected 1 or more"):
        evaluate_language_model(Unigrams(), cache, 0)
    with pytest.raises(ValueError, match="stride is 9; expected 1 to 8"):
        evaluate_language_model(Unigrams(), cache, 8, 9)
