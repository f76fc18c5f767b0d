"""Decoding over caches against the whole model, batches, seeds, constraints, beams."""

import itertools

import numpy as np
import pytest
import small_language_models as models
import tensorflow as tf

from kerasllm.generation import (
    ENDED,
    Sampling,
    TextGenerator,
    VerseForm,
    beam_search,
    generate_tokens,
    make_decoder,
)

NAMES = ["gpt", "modern", "lstm"]
every_model = pytest.mark.parametrize("name", NAMES)


def ids(*shape, seed=0):
    return np.random.default_rng(seed).integers(1, models.VOCABULARY, shape).astype("int32")


def greedy(model, prompt, count):
    """The whole text anew for each token."""
    text = list(prompt)
    for _ in range(count):
        text.append(int(np.argmax(model.logits(np.array([text], "int32"))[0, -1])))
    return text[len(prompt) :]


def collect(*args, **kwargs):
    return np.stack(list(generate_tokens(*args, **kwargs)), axis=1)


@every_model
def test_each_step_has_the_logits_of_the_whole_text(name):
    model, tokens = models.make_model(name), ids(2, 40)
    expected = np.array(model.logits(tokens))
    decoder = make_decoder(model, 2, 40)
    for prompt in (7, 1):  # the second time over the buffers of the first
        np.testing.assert_allclose(
            decoder.prefill(tokens[:, :prompt]), expected[:, prompt - 1], atol=3e-5
        )
        for place in range(prompt, 40):
            logits = decoder.step(tokens[:, place])
            np.testing.assert_allclose(logits, expected[:, place], atol=3e-5)
    for function in (decoder._prefill, decoder._step):
        assert function.experimental_get_tracing_count() == 1
    with pytest.raises(ValueError, match="40 tokens, all that the decoder takes"):
        decoder.step(tokens[:, 0])


@every_model
def test_a_batch_of_unequal_prompts_is_each_alone(name):
    model = models.make_model(name)
    prompts = [ids(n, seed=n).tolist() for n in (3, 11, 1)]
    together = collect(model, prompts, 20)
    for prompt, row in zip(prompts, together, strict=True):
        assert row.tolist() == greedy(model, prompt, 20)


def test_bfloat16_decodes_with_cast_weights():
    model = models.make_model("modern", dtype="mixed_bfloat16")
    generator = TextGenerator(model, models.LetterTokenizer())
    assert {w.dtype for w in generator.model.weights} == {"bfloat16"}
    tokens = ids(1, 9)
    logits = make_decoder(generator.model, 1, 16).prefill(tokens)
    np.testing.assert_allclose(logits, model.logits(tokens)[:, -1], atol=0.2)
    assert isinstance(generator.generate(["春眠"], max_tokens=4)[0], str)


@every_model
def test_a_seed_gives_the_same_tokens(name):
    model, prompts = models.make_model(name), [[3, 4], [5]]
    runs = [collect(model, prompts, 30, Sampling(1.0, seed=seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert not np.array_equal(runs[0][0], runs[0][1])


@every_model
@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"seed": 3},
        {"temperature": 1.3, "top_k": 9, "seed": 4},
        {"top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.3, "seed": 5},
        {"temperature": 0, "repetition_penalty": 1.5},
    ],
    ids=str,
)
def test_the_loop_in_the_graph_is_one_step_after_the_other(name, options):
    model, sampling = models.make_model(name), Sampling(**options)
    arguments = model, [[3, 4, 9], [5], [7, 1]], 41, sampling
    # A constraint is computed in Python, between two steps.
    steps = collect(*arguments, constraint=lambda row, tokens: None)
    np.testing.assert_array_equal(collect(*arguments), steps)
    ends = sorted({int(steps[0, 6]), int(steps[1, 20])})
    free = collect(*arguments, end_ids=ends, constraint=lambda row, tokens: None)
    np.testing.assert_array_equal(collect(*arguments, end_ids=ends), free)


def test_decode_ends_with_the_last_text_and_says_what_has_no_room():
    model = models.make_model("gpt")
    decoder = make_decoder(model, 2, 40)
    first = np.argmax(decoder.prefill(ids(2, 7)), -1).astype("int32")
    uniform, greedy_choice = np.zeros((8, 2), "float32"), Sampling(temperature=0)
    free, seen = decoder.decode(first, uniform, greedy_choice)
    assert seen is None and (np.array(free) >= 0).all()
    decoder.prefill(ids(2, 7))
    ends = np.array(free)[2].tolist()
    chosen = np.array(decoder.decode(first, uniform, greedy_choice, ends, [True, False])[0])
    stop = next(i for i, token in enumerate(np.array(free)[:, 0]) if token in ends)
    np.testing.assert_array_equal(chosen[: stop + 1, 0], np.array(free)[: stop + 1, 0])
    assert (chosen[stop + 1 :] == ENDED).all() and (chosen[:, 1] == ENDED).all()
    with pytest.raises(ValueError, match="15 tokens, and 26 more are asked for"):
        decoder.decode(first, np.zeros((26, 2), "float32"), greedy_choice)


def test_an_end_id_ends_its_row_alone():
    model = models.make_model("gpt")
    free = collect(model, [[3, 4], [5]], 20)
    end = int(free[0][4])
    tokens = collect(model, [[3, 4], [5]], 20, end_ids=[end])
    for row, alone in zip(tokens, free, strict=True):
        places = np.flatnonzero(alone == end)
        stop = places[0] + 1 if len(places) else len(row)
        np.testing.assert_array_equal(row[:stop], alone[:stop])
        assert (row[stop:] == ENDED).all()


def test_prompts_that_are_empty_or_too_long_are_named():
    model = models.make_model("gpt", max_length=16)
    with pytest.raises(ValueError, match="A prompt has 17 tokens; the model takes 16"):
        collect(model, [[1] * 17], 1)
    with pytest.raises(ValueError, match="Prompt 1 is empty"):
        collect(model, [[1], []], 1)


def test_decoders_are_kept():
    generator = TextGenerator(models.make_model("gpt"), models.LetterTokenizer())
    for prompt in ("春", "春眠不覺曉", "夜來"):
        generator.generate([prompt], max_tokens=9)
    for temperature in (0.5, 2.0):
        generator.generate(["春"], Sampling(temperature), max_tokens=30)
    with generator._decoders.decoder(generator.model, 1, 40) as decoder:
        assert len(generator._decoders) == 0
    # One loop for greedy choice and one for all temperatures.
    assert len(decoder._loops) == 2
    for function in (decoder._prefill, *decoder._loops.values()):
        assert function.experimental_get_tracing_count() == 1


def test_stream_is_generate_in_pieces():
    generator = TextGenerator(models.make_model("modern"), models.LetterTokenizer())
    sampling = Sampling(1.0, top_p=0.95, seed=7)
    pieces = list(generator.stream("春眠", sampling, max_tokens=40))
    (text,) = generator.generate(["春眠"], sampling, max_tokens=40)
    assert "".join(pieces) == text and len(pieces) > 1
    stop = text[3:5]
    assert generator.generate(["春眠"], sampling, 40, stop=[stop]) == [text[: text.index(stop)]]
    assert "".join(generator.stream("春眠", sampling, 40, stop=[stop])) == text[: text.index(stop)]


def test_ids_beyond_the_tokenizer_give_no_text():
    model = models.make_model("gpt", vocabulary_size=models.VOCABULARY + 5)
    generator = TextGenerator(model, models.LetterTokenizer())

    def beyond(row, tokens):
        return [models.VOCABULARY + 1] if len(tokens) % 2 else [3]

    text = models.LetterTokenizer.letters[3]
    assert generator.generate(["春"], max_tokens=4, constraint=beyond) == [2 * text]


def test_a_constraint_of_a_tokenizer_smaller_than_the_vocabulary():
    tokenizer = models.LetterTokenizer()
    model = models.make_model("gpt", vocabulary_size=models.VOCABULARY + 5)
    form = VerseForm(tokenizer)
    (text,) = TextGenerator(model, tokenizer).generate(
        [""], Sampling(2.0, seed=3), 60, constraint=form
    )
    assert form.fits(text)
    too_many = np.ones(models.VOCABULARY + 6, bool)
    with pytest.raises(ValueError, match="gives 43 ids for row 0; the model has 42"):
        collect(model, [[1]], 3, constraint=lambda row, tokens: too_many)


def test_the_repetition_penalty_leaves_the_end_token_of_the_prompt_alone():
    model = models.make_model("gpt")
    starts = np.array([[end, 4] for end in range(5, models.VOCABULARY)], "int32")
    logits = np.array(model.logits(starts))[:, -1]
    row = int(np.argmax([logits[row, end] for row, (end, _) in enumerate(starts)]))
    end = int(starts[row, 0])
    # Less likely than the end without the penalty, and likelier than it with.
    (others,) = np.nonzero((logits[row] > 0.1) & (logits[row] < logits[row, end] - 0.1))
    other = int(others[others != 4][0])
    sampling = Sampling(temperature=0, repetition_penalty=1e6)
    for end_ids, expected in (([end], end), ([], other)):
        tokens = collect(
            model, [[end, 4]], 1, sampling, end_ids, constraint=lambda row, new: [end, other]
        )
        assert tokens.tolist() == [[expected]]


def test_constraint_allows_what_it_names():
    model = models.make_model("gpt")
    allowed = [[3, 4], [7], None]
    tokens = collect(
        model, [[1]], 3, constraint=lambda row, tokens: allowed[len(tokens)], sampling=Sampling()
    )
    assert tokens[0, 0] in (3, 4) and tokens[0, 1] == 7
    with pytest.raises(ValueError, match="allows no token after the 0 new ones of row 0"):
        collect(model, [[1]], 3, constraint=lambda row, tokens: [])


@pytest.mark.parametrize("prompt", ["", "春眠不覺曉，處", "春眠不覺曉處聞，"])
def test_every_verse_has_its_form(prompt):
    tokenizer = models.LetterTokenizer()
    generator = TextGenerator(models.make_model("gpt"), tokenizer)
    form = VerseForm(tokenizer, prompt)
    texts = generator.generate([prompt] * 20, Sampling(2.0, seed=3), 60, constraint=form)
    assert len(set(texts)) == 20
    lengths = set()
    for text in texts:
        poem = prompt + text
        assert form.fits(poem), poem
        lengths.add(len(poem))
        for mark in "。？！":
            poem = poem.replace(mark, "，")
        lines = poem.split("，")
        assert [len(line) for line in lines] == [len(lines[0])] * 4 + [0]
    assert lengths == ({24} if prompt[5:6] == "，" else {32} if prompt else {24, 32})


def test_verse_form_refuses_another_begin():
    with pytest.raises(ValueError, match="not the begin of 4 lines of 5 or 7 characters"):
        VerseForm(models.LetterTokenizer(), "春眠不，")


def test_wide_beams_find_the_likeliest_text():
    model, prompt, count = models.make_model("modern", vocabulary_size=7), [1, 2], 3
    texts = [list(text) for text in itertools.product(range(7), repeat=count)]
    inputs = np.array([prompt + text for text in texts], "int32")
    log_probabilities = np.array(tf.nn.log_softmax(model.logits(inputs)))
    sums = sum(
        log_probabilities[np.arange(len(texts)), 1 + i, inputs[:, 2 + i]] for i in range(count)
    )
    text, score = beam_search(model, prompt, count, num_beams=49)
    assert text == texts[int(np.argmax(sums))]
    assert score == pytest.approx(sums.max() / count, abs=1e-5)
    # Ended texts count with their own length.
    text, score = beam_search(model, prompt, count, num_beams=49, end_ids=[4])
    best = max(
        (sum(log_probabilities[i, 1 + j, t[j]] for j in range(end)) / end, t[:end])
        for i, t in enumerate(texts)
        for end in [t.index(4) + 1 if 4 in t else count]
    )
    assert (text, score) == (best[1], pytest.approx(best[0], abs=1e-5))


@pytest.mark.parametrize("name", ["gpt", "lstm"])
def test_one_beam_is_greedy(name):
    model = models.make_model(name)
    assert beam_search(model, [3, 4], 12, num_beams=1)[0] == greedy(model, [3, 4], 12)
    texts = TextGenerator(model, models.LetterTokenizer()).generate(["春眠"], None, 5, num_beams=3)
    assert len(texts) == 1 and isinstance(texts[0], str)
