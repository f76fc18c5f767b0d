"""TextGenerator: calls side by side, ids of begin and end, models whose weights were changed."""

import threading

import numpy as np
import pytest
import small_language_models as models

from kerasllm.generation import Sampling, TextGenerator, beam_search

SAMPLING = Sampling(seed=5)


@pytest.fixture(scope="module")
def generator():
    return TextGenerator(models.make_model("modern"), models.LetterTokenizer())


def test_streams_side_by_side_are_each_alone(generator):
    prompts = ["abc", "春眠"]
    alone = [list(generator.stream(prompt, SAMPLING, 20)) for prompt in prompts]
    streams = [generator.stream(prompt, SAMPLING, 20) for prompt in prompts]
    together = [[], []]
    for _ in range(20):
        for stream, pieces in zip(streams, together, strict=True):
            pieces += [piece for piece in [next(stream, None)] if piece is not None]
            # A call in between is one more.
            generator.generate(["花"], SAMPLING, 2)
    assert together == alone


def test_calls_in_threads_are_each_alone(generator):
    prompts = ["a", "春眠", "bc"]
    alone = [generator.generate([prompt], SAMPLING, 30) for prompt in prompts]
    together = [None] * len(prompts)

    def work(place):
        together[place] = generator.generate([prompts[place]], SAMPLING, 30)

    threads = [threading.Thread(target=work, args=[place]) for place in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_stream_that_is_closed_early_gives_its_decoder_back():
    generator = TextGenerator(models.make_model("gpt"), models.LetterTokenizer())
    for _ in range(2):
        stream = generator.stream("春", SAMPLING, 20)
        next(stream)
        assert len(generator._decoders) == 0
        stream.close()
        assert len(generator._decoders) == 1


def test_beam_search_keeps_its_decoder():
    generator = TextGenerator(models.make_model("gpt"), models.LetterTokenizer())
    for prompt in ("春", "春眠"):
        generator.generate([prompt], max_tokens=5, num_beams=3)
    with generator._decoders.decoder(generator.model, 3, 10) as decoder:
        assert decoder._prefill.experimental_get_tracing_count() == 1
    assert len(generator._decoders) == 1


class SpecialTokenizer(models.LetterTokenizer):
    """With a token before texts and two that end them."""

    start_ids, end_ids = (35,), (0, 12)


def test_start_and_end_ids_are_the_tokenizers():
    model, letters = models.make_model("gpt"), models.LetterTokenizer.letters
    generator = TextGenerator(model, SpecialTokenizer())
    assert generator.end_ids == (0, 12)

    def in_turn(row, tokens):
        return [[4], [5], [12], [6]][len(tokens)]

    assert generator.generate(["春"], max_tokens=4, constraint=in_turn) == [letters[4] + letters[5]]
    plain = TextGenerator(model, models.LetterTokenizer(), start_ids=[35], end_ids=[0, 12])
    assert generator.generate(["春", ""], max_tokens=30) == plain.generate(
        ["春", ""], max_tokens=30
    )
    assert TextGenerator(model, SpecialTokenizer(), start_ids=()).start_ids == []


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize(
    "change",
    [
        lambda model: [block.output_dense.enable_lora(2) for block in model.blocks],
        lambda model: model.quantize("int8"),
    ],
    ids=["enable_lora", "int8"],
)
def test_lora_and_int8_under_a_mixed_policy(change):
    model = models.make_model("modern", dtype="mixed_bfloat16")
    model.logits(np.array([[1, 2]], "int32"))
    change(model)
    generator = TextGenerator(model, models.LetterTokenizer())
    assert generator.model is model
    (text,) = generator.generate(["春眠"], max_tokens=1)
    logits = np.array(model.logits(np.array([[1, 2]], "int32")))[0, -1]
    chosen = models.LetterTokenizer().encode([text])[0] or [0]
    assert logits[chosen[0]] > logits.max() - 0.1


def test_numbers_that_ask_for_nothing_or_for_nonsense(generator):
    for num_beams in (1, 2):
        assert generator.generate(["春"], max_tokens=0, num_beams=num_beams) == [""]
    with pytest.raises(ValueError, match="num_beams is 0; expected 1 or more"):
        generator.generate(["春"], num_beams=0)
    lstm = models.make_model("lstm")
    assert beam_search(lstm, [1, 2, 3], 0) == ([], 0.0)
    with pytest.raises(ValueError, match="prompt is empty"):
        beam_search(lstm, [], 3)
    with pytest.raises(ValueError, match="num_beams is 0"):
        beam_search(lstm, [1], 3, num_beams=0)
