"""Tokens one after the other."""

import functools

import numpy as np
from keras import ops

from kerasllm.generation.decoder_pool import DecoderPool
from kerasllm.generation.decoders import ENDED
from kerasllm.generation.sampling import Sampling
from kerasllm.generation.sliding_context import prefill_contexts, room_left, room_needed

# Tokens of one call: few at first, so that a stream begins at once.
_MOST_TOKENS_A_CALL = 16


def generate_tokens(
    model, prompts, max_tokens, sampling=None, end_ids=(), constraint=None, decoders=None
):
    """The tokens that a model puts after prompts, as an iterator over steps.

    Texts go on past the `max_length` of a `CausalLM` over a sliding context: when a text has
    `max_length` tokens in its context and gets one more, the first half of the context (rounded up)
    is dropped, and what is left is read anew, at positions from 0 on; so again whenever it is full.
    A token is thus what the model gives for at least half of `max_length` tokens before it, or for
    the whole text if that is shorter. Each row of a batch slides for itself, whatever the others'
    lengths.

    Examples:

    >>> for tokens in generate_tokens(model, [[5, 6], [7]], max_tokens=20):
    ...     print(tokens)  # int32 (2,)

    Args:
        model: A `CausalLM` or an `LSTMLM`.
        prompts: A list of lists of token ids, each of one token at least.
        max_tokens: Most tokens after a prompt.
        sampling: A `Sampling`; greedy by default.
        end_ids: Token ids that end a text.
        constraint: A function of a text's row and a list of its new tokens that gives the ids that
            may come next: integers, or bool `(vocabulary_size,)`, past whose end, if it is shorter,
            nothing is allowed; or None for all.
        decoders: A `DecoderPool`, in which decoders are kept between calls, with their compiled
            functions and buffers; or None.

    Yields:
        int32 `(batch,)` for each step, the end ids among them; `ENDED` from then on.

    Raises:
        ValueError: If a prompt is empty or longer than the model takes, or the constraint allows no
            token.
    """
    sampling = sampling or Sampling(temperature=0)
    prompts = [[int(token) for token in prompt] for prompt in prompts]
    if not prompts or max_tokens < 1:
        return
    lengths = [len(prompt) for prompt in prompts]
    if min(lengths) < 1:
        raise ValueError(f"Prompt {lengths.index(0)} is empty; expected one token or more.")
    room = room_needed(model, max(lengths), max_tokens)
    random = np.random.Generator(np.random.Philox(sampling.seed))
    go_on = _in_chunks if constraint is None else functools.partial(_step_by_step, constraint)
    decoders = DecoderPool() if decoders is None else decoders
    with decoders.decoder(model, len(prompts), room) as decoder:
        # The texts grow in place.
        yield from go_on(decoder, prompts, max_tokens, sampling, random, list(end_ids))


def _in_chunks(decoder, texts, max_tokens, sampling, random, end_ids):
    """The tokens of each step, several of which are one call."""
    batch, choose = len(texts), sampling.chooser()
    seen = _seen(texts, decoder.model, sampling, end_ids)
    running, given, count = np.ones(batch, bool), 0, 1
    while True:
        # At the begin, and whenever contexts are full.
        logits = prefill_contexts(decoder, texts, running)
        uniform = random.random(batch, dtype="float32")
        tokens = ops.convert_to_numpy(choose(logits, uniform, seen))
        tokens = np.where(running, tokens, ENDED).astype("int32")
        if seen is not None:
            seen = np.array(seen)
            seen[np.flatnonzero(running), tokens[running]] = True
        chosen = tokens[None]
        while True:
            for tokens in chosen:
                if not running.any():
                    return
                _append(texts, tokens, running)
                running &= ~np.isin(tokens, end_ids)
                given += 1
                yield tokens
            if given >= max_tokens or not running.any():
                return
            left, room = max_tokens - given, room_left(decoder)
            now = min(count, left if room is None else min(left, room))
            if not now:
                break
            uniform = random.random((now, batch), dtype="float32")
            chosen, seen = decoder.decode(tokens, uniform, sampling, end_ids, running, seen)
            chosen = ops.convert_to_numpy(chosen)
            count = min(2 * count, _MOST_TOKENS_A_CALL)


def _step_by_step(constraint, decoder, texts, max_tokens, sampling, random, end_ids):
    """The tokens of each step, with a constraint that Python computes between two."""
    batch, choose = len(texts), sampling.chooser()
    seen = _seen(texts, decoder.model, sampling, end_ids)
    running, new_tokens = np.ones(batch, bool), [[] for _ in range(batch)]
    logits = prefill_contexts(decoder, texts)
    for step in range(max_tokens):
        allowed = _allowed(constraint, new_tokens, running, logits.shape[-1])
        uniform = random.random(batch, dtype="float32")
        tokens = ops.convert_to_numpy(choose(logits, uniform, seen, allowed))
        tokens = np.where(running, tokens, ENDED).astype("int32")
        _append(texts, tokens, running)
        _append(new_tokens, tokens, running)
        if seen is not None:
            seen[np.flatnonzero(running), tokens[running]] = True
        running &= ~np.isin(tokens, end_ids)
        yield tokens
        if not running.any() or step == max_tokens - 1:
            return
        if room_left(decoder) == 0:
            logits = prefill_contexts(decoder, texts, running)
        else:
            logits = decoder.step(np.maximum(tokens, 0))


def _append(texts, tokens, running):
    for row in np.flatnonzero(running):
        texts[row].append(int(tokens[row]))


def _seen(texts, model, sampling, end_ids):
    """The tokens that the repetition penalty makes less likely: bool `(batch, vocabulary_size)`,
    those of the prompts; or None without it."""
    if not sampling.form.has_penalty:
        return None
    seen = np.zeros((len(texts), model.vocabulary_size), bool)
    for row, text in enumerate(texts):
        seen[row, text] = True
    # An end token at the begin of a prompt parts documents; it is no repetition to end this one.
    seen[:, [token for token in end_ids if token < model.vocabulary_size]] = False
    return seen


def _allowed(constraint, new_tokens, running, vocabulary_size):
    allowed = np.ones((len(new_tokens), vocabulary_size), bool)
    for row in np.flatnonzero(running):
        ids = constraint(int(row), new_tokens[row])
        if ids is None:
            continue
        ids = np.asarray(ids)
        allowed[row] = False
        if ids.dtype == bool:
            if len(ids) > vocabulary_size:
                raise ValueError(
                    f"The constraint gives {len(ids)} ids for row {row}; the model has "
                    f"{vocabulary_size}."
                )
            # Some models have more ids than their tokenizer, up to a round number.
            allowed[row, : len(ids)] = ids
        else:
            allowed[row, ids.astype(np.int64)] = True
        if not allowed[row].any():
            raise ValueError(
                f"The constraint allows no token after the {len(new_tokens[row])} new ones of row "
                f"{row}."
            )
    return allowed
