"""Beam search."""

import numpy as np
from keras import ops

from kerasllm.generation.decoder_pool import DecoderPool
from kerasllm.generation.sliding_context import prefill_contexts, room_left, room_needed


def beam_search(
    model, prompt, max_tokens, num_beams=4, end_ids=(), length_penalty=1.0, decoders=None
):
    """The likeliest texts after a prompt that a search over `num_beams` texts at a time finds.

    A text's score is the sum of the log probabilities of its new tokens divided by their number to
    the power of `length_penalty` (Wu et al., Google's Neural Machine Translation System, 2016, in
    the form without its constant). The search ends when no running text can score better than the
    worst of `num_beams` ended ones, as far as its present length tells. Past the model's
    `max_length` the context slides, as that of `generate_tokens`.

    Args:
        model: A `CausalLM` or an `LSTMLM`.
        prompt: A list of token ids.
        max_tokens: Most new tokens.
        num_beams: Number of texts at a time. 4 by default.
        end_ids: Token ids that end a text.
        length_penalty: Above 0 longer texts score better. 1.0 by default.
        decoders: A `DecoderPool`, in which decoders are kept between calls; or None.

    Returns:
        `(token_ids, score)` of the best text: a list of the new tokens, the end among them, and a
        float; `([], 0.0)` if `max_tokens` is below 1.

    Raises:
        ValueError: If the prompt is empty or longer than the model takes, or `num_beams` below 1.
    """
    if num_beams < 1:
        raise ValueError(f"num_beams is {num_beams}; expected 1 or more.")
    if not prompt:
        raise ValueError("The prompt is empty; expected one token or more.")
    if max_tokens < 1:
        return [], 0.0
    prompt = [int(token) for token in prompt]
    room = room_needed(model, len(prompt), max_tokens)
    decoders = DecoderPool() if decoders is None else decoders
    with decoders.decoder(model, num_beams, room) as decoder:
        return _search(decoder, prompt, max_tokens, num_beams, end_ids, length_penalty)


def _search(decoder, prompt, max_tokens, num_beams, end_ids, length_penalty):
    logits = prefill_contexts(decoder, [prompt] * num_beams)
    # All beams are the same text at first: only one counts.
    sums = np.array([0.0] + [-np.inf] * (num_beams - 1))
    texts, ended = [[] for _ in range(num_beams)], []
    for step in range(1, max_tokens + 1):
        log_probabilities = ops.convert_to_numpy(ops.log_softmax(logits, axis=-1))
        scores = sums[:, None] + log_probabilities.astype("float64")
        vocabulary_size = scores.shape[1]
        # Every beam may end in each of the end ids and still leave as many that go on.
        count = min((1 + max(1, len(end_ids))) * num_beams, scores.size)
        best = np.argpartition(-scores.ravel(), count - 1)[:count]
        best = best[np.argsort(-scores.ravel()[best], kind="stable")]
        rows, tokens, next_sums, next_texts = [], [], [], []
        for rank, place in enumerate(best):
            row, token = divmod(int(place), vocabulary_size)
            total = scores[row, token]
            if total == -np.inf or len(rows) == num_beams:
                break
            if token in end_ids:
                if rank < num_beams:
                    ended.append((total / step**length_penalty, [*texts[row], token]))
                continue
            rows.append(row), tokens.append(token), next_sums.append(total)
            next_texts.append([*texts[row], token])
        ended = sorted(ended, key=lambda pair: -pair[0])[:num_beams]
        if not rows:
            break
        missing = num_beams - len(rows)
        rows, tokens = rows + rows[:1] * missing, tokens + tokens[:1] * missing
        sums = np.array(next_sums + [-np.inf] * missing)
        texts = next_texts + [next_texts[0]] * missing
        finished = len(ended) == num_beams and sums[0] / step**length_penalty <= ended[-1][0]
        if finished or step == max_tokens:
            break
        if room_left(decoder) == 0:
            logits = prefill_contexts(decoder, [prompt + text for text in texts])
        else:
            decoder.reorder(np.array(rows, "int32"))
            logits = decoder.step(np.array(tokens, "int32"))
    running = [
        (total / len(text) ** length_penalty, text)
        for total, text in zip(sums, texts, strict=True)
        if total > -np.inf and text
    ]
    if len(ended) < num_beams:
        ended = ended + running
    score, text = max(ended, key=lambda pair: pair[0])
    return text, float(score)
