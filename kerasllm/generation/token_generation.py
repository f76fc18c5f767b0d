"""Tokens one after the other."""

import functools

import numpy as np
from keras import ops

from kerasllm.generation.decoders import ENDED, make_decoder
from kerasllm.generation.sampling import Sampling

# Tokens of one call: few at first, so that a stream begins at once.
_MOST_TOKENS_A_CALL = 16
_SMALLEST_BUFFER = 64


def generate_tokens(
    model, prompts, max_tokens, sampling=None, end_ids=(), constraint=None, decoders=None
):
    """The tokens that a model puts after prompts, as an iterator over steps.

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
            may come next: integers, or bool `(vocabulary_size,)`; or None for all.
        decoders: A dict in which decoders are kept between calls, with their compiled functions
            and buffers; or None.

    Yields:
        int32 `(batch,)` for each step, the end ids among them; `ENDED` from then on.

    Raises:
        ValueError: If a prompt is empty, or has no room for a token, or the constraint allows none.
    """
    sampling = sampling or Sampling(temperature=0)
    prompts = [[int(token) for token in prompt] for prompt in prompts]
    if not prompts or max_tokens < 1:
        return
    lengths = [len(prompt) for prompt in prompts]
    if min(lengths) < 1:
        raise ValueError(f"Prompt {lengths.index(0)} is empty; expected one token or more.")
    limit = getattr(model, "max_length", None)
    if limit is not None and max(lengths) >= limit:
        raise ValueError(
            f"A prompt has {max(lengths)} tokens; the model takes {limit}, one of them new."
        )
    longest = max(lengths)
    if limit is not None:
        max_tokens = min(max_tokens, limit - longest)
    decoder = decoder_for(
        model, len(prompts), longest + max_tokens, {} if decoders is None else decoders
    )
    token_ids = np.array([[0] * (longest - len(prompt)) + prompt for prompt in prompts], "int32")
    logits = decoder.prefill(token_ids, np.array([longest - length for length in lengths], "int32"))

    random = np.random.Generator(np.random.Philox(sampling.seed))
    seen = None
    if sampling.form.has_penalty:
        seen = np.zeros(logits.shape, bool)
        for row, prompt in enumerate(prompts):
            seen[row, prompt] = True
    go_on = _in_chunks if constraint is None else functools.partial(_step_by_step, constraint)
    yield from go_on(decoder, logits, max_tokens, sampling, random, list(end_ids), seen)


def _in_chunks(decoder, logits, max_tokens, sampling, random, end_ids, seen):
    """The tokens of each step, several of which are one call."""
    batch = decoder.batch_size
    tokens = sampling.chooser()(logits, random.random(batch, dtype="float32"), seen)
    tokens = ops.convert_to_numpy(tokens)
    if seen is not None:
        seen[np.arange(batch), tokens] = True
    running = ~np.isin(tokens, end_ids)
    yield tokens
    given, count = 1, 1
    while given < max_tokens and running.any():
        count = min(count, max_tokens - given)
        uniform = random.random((count, batch), dtype="float32")
        chosen, seen = decoder.decode(tokens, uniform, sampling, end_ids, running, seen)
        for tokens in ops.convert_to_numpy(chosen):
            if not running.any():
                return
            running &= ~np.isin(tokens, end_ids)
            yield tokens
        given, count = given + count, min(2 * count, _MOST_TOKENS_A_CALL)


def _step_by_step(constraint, decoder, logits, max_tokens, sampling, random, end_ids, seen):
    """The tokens of each step, with a constraint that Python computes between two."""
    batch, choose = decoder.batch_size, sampling.chooser()
    running, new_tokens = np.ones(batch, bool), [[] for _ in range(batch)]
    for step in range(max_tokens):
        allowed = _allowed(constraint, new_tokens, running, logits.shape[-1])
        uniform = random.random(batch, dtype="float32")
        tokens = ops.convert_to_numpy(choose(logits, uniform, seen, allowed))
        tokens = np.where(running, tokens, ENDED).astype("int32")
        for row in np.flatnonzero(running):
            new_tokens[row].append(int(tokens[row]))
            if seen is not None:
                seen[row, tokens[row]] = True
        running &= ~np.isin(tokens, end_ids)
        yield tokens
        if not running.any() or step == max_tokens - 1:
            return
        logits = decoder.step(np.maximum(tokens, 0))


def decoder_for(model, batch_size, length, decoders=None):
    """A decoder with room for that length: the next power of two, so that few are made."""
    buffer = _SMALLEST_BUFFER
    while buffer < length:
        buffer *= 2
    decoders = {} if decoders is None else decoders
    key = batch_size, buffer
    if key not in decoders:
        if len(decoders) >= 4:  # each holds a buffer of keys and values
            decoders.pop(next(iter(decoders)))
        decoders[key] = make_decoder(model, batch_size, buffer)
    return decoders[key]


def _allowed(constraint, new_tokens, running, vocabulary_size):
    allowed = np.ones((len(new_tokens), vocabulary_size), bool)
    for row in np.flatnonzero(running):
        ids = constraint(int(row), new_tokens[row])
        if ids is None:
            continue
        ids = np.asarray(ids)
        if ids.dtype == bool:
            allowed[row] = ids
        else:
            allowed[row] = False
            allowed[row, ids.astype(np.int64)] = True
        if not allowed[row].any():
            raise ValueError(
                f"The constraint allows no token after the {len(new_tokens[row])} new ones of row "
                f"{row}."
            )
    return allowed
