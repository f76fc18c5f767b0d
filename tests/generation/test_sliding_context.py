"""Texts past the model's `max_length`, against the model without a cache over what a token sees."""

import itertools

import numpy as np
import pytest
import small_language_models as models

from kerasllm.generation import ENDED, DecoderPool, Sampling, beam_search, generate_tokens

MAX_LENGTH = 16
PROMPTS = [[3, 4, 9], [5] * 15, [7, 1, 2, 8, 6, 2, 1], [int(i) for i in range(1, 17)]]


def contexts():
    """Of a text's tokens one after the other: where that which the next token sees begins, as the
    docstring of `generate_tokens` says."""
    begin = 0
    for length in itertools.count():
        if length - begin > MAX_LENGTH:
            begin += MAX_LENGTH // 2
        yield begin


def greedy(model, prompt, count):
    text = list(prompt)
    for length, begin in enumerate(contexts()):
        if length < len(prompt):
            continue
        if length == len(prompt) + count:
            return text[len(prompt) :]
        logits = np.array(model.logits(np.array([text[begin:]], "int32")))[0, -1]
        text.append(int(logits.argmax()))


def collect(*args, **kwargs):
    return np.stack(list(generate_tokens(*args, **kwargs)), axis=1)


@pytest.fixture(scope="module", params=["gpt", "modern"])
def model(request):
    return models.make_model(request.param, max_length=MAX_LENGTH)


def test_a_batch_of_unequal_prompts_goes_on_past_max_length(model):
    decoders = DecoderPool()
    tokens = collect(model, PROMPTS, 60, decoders=decoders)
    assert tokens.shape == (4, 60)
    for prompt, row in zip(PROMPTS, tokens, strict=True):
        assert row.tolist() == greedy(model, prompt, 60)
    # Nothing is traced anew as the text grows.
    with decoders.decoder(model, 4, MAX_LENGTH) as decoder:
        for function in (decoder._prefill, *decoder._loops.values()):
            assert function.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.3, "top_k": 9}], ids=str)
def test_a_seed_gives_the_same_long_text_with_and_without_a_constraint(model, options):
    arguments = model, PROMPTS, 50, Sampling(seed=3, **options)
    tokens = collect(*arguments)
    np.testing.assert_array_equal(collect(*arguments), tokens)
    free = collect(*arguments, constraint=lambda row, new: None)
    np.testing.assert_array_equal(free, tokens)


def test_rows_that_ended_leave_the_others_as_they_are(model):
    arguments = model, PROMPTS, 50, Sampling(seed=3)
    tokens = collect(*arguments)
    # A token with which one text ends soon and another late.
    for end in np.unique(tokens):
        hits = tokens == end
        stops = np.where(hits.any(axis=1), hits.argmax(axis=1), 49) + 1
        if stops.min() < 10 and stops.max() > 25:
            break
    else:
        pytest.fail("There is no such token.")
    ended = collect(*arguments, end_ids=[int(end)])
    assert ended.shape == (4, stops.max())
    for row, alone, stop in zip(ended, tokens, stops, strict=True):
        np.testing.assert_array_equal(row[:stop], alone[:stop])
        assert (row[stop:] == ENDED).all()


def test_a_row_that_ended_with_a_full_context_does_not_fill_the_buffer(model):
    calls, decoders = [], DecoderPool()
    with decoders.decoder(model, 2, MAX_LENGTH) as decoder:
        prefill = decoder.prefill
        decoder.prefill = lambda *inputs: calls.append(1) or prefill(*inputs)
    other = greedy(model, [3], 40)
    # With its end a prompt has as many tokens as the model takes.
    random = np.random.default_rng(0)
    prompts = random.integers(1, models.VOCABULARY, (50, MAX_LENGTH - 1)).astype("int32")
    chosen = np.array(model.logits(prompts))[:, -1].argmax(axis=-1)
    row = int(np.flatnonzero(~np.isin(chosen, other))[0])
    pair, ends = [prompts[row].tolist(), [3]], [int(chosen[row])]
    tokens = collect(model, pair, 40, end_ids=ends, decoders=decoders)
    assert tokens[0, 0] == ends[0] and tokens[1].tolist() == other
    assert len(calls) <= 6


def test_beams_go_on_past_max_length(model):
    assert beam_search(model, PROMPTS[0], 40, num_beams=1)[0] == greedy(model, PROMPTS[0], 40)
    text, score = beam_search(model, PROMPTS[1], 20, num_beams=3)
    whole, total = PROMPTS[1] + text, 0.0
    for length, begin in zip(range(len(whole)), contexts(), strict=False):
        if length >= len(PROMPTS[1]):
            logits = np.array(model.logits(np.array([whole[begin:length]], "int32")))[0, -1]
            total += logits[whole[length]] - np.log(np.exp(logits.astype("float64")).sum())
    assert score == pytest.approx(total / 20, abs=1e-4)


def test_the_buffer_is_no_longer_than_the_model_needs():
    model, decoders = models.make_model("modern", max_length=128), DecoderPool()
    collect(model, [[1]], 150, decoders=decoders)
    with decoders.decoder(model, 1, 128) as decoder:
        assert decoder.max_length == 128 and decoder._loops
