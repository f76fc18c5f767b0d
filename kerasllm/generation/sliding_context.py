"""What a token sees of a text that is longer than its model takes."""

import numpy as np


def context_begin(length, max_length):
    """Where the context of a text's next token begins.

    Args:
        length: Number of the text's tokens.
        max_length: Most tokens that the model takes; None for any number.

    Returns:
        The place of the first token that the next one sees: 0 while the text fits. When the
        context is full and one token more has come, its first half is dropped: `dropped`, half of
        `max_length` rounded up, and so again after each further `dropped` tokens.
    """
    if max_length is None or length <= max_length:
        return 0
    dropped = (max_length + 1) // 2
    return -(-(length - max_length) // dropped) * dropped


def prefill_contexts(decoder, texts, running=None):
    """Begins a decoder with the contexts of texts, at positions from 0 on.

    The longest context has no padding before it, so the decoder's buffer is full no sooner than
    that context is.

    Args:
        decoder: A decoder of a model.
        texts: A list of lists of token ids, the whole texts.
        running: bool `(batch,)`, the texts that have not ended; all by default. Of the others no
            more is read than a token, so that they do not fill the buffer.

    Returns:
        The logits of the next tokens, float32 `(batch, vocabulary_size)`.
    """
    max_length = longest_context(decoder.model)
    contexts = [text[context_begin(len(text), max_length) :] for text in texts]
    if running is not None:
        pairs = zip(contexts, running, strict=True)
        contexts = [context if runs else context[-1:] for context, runs in pairs]
    longest = max(map(len, contexts))
    padding = np.array([longest - len(context) for context in contexts], "int32")
    token_ids = np.zeros((len(texts), longest), "int32")
    for row, context in enumerate(contexts):
        token_ids[row, padding[row] :] = context
    return decoder.prefill(token_ids, padding)


def room_left(decoder):
    """How many tokens the decoder takes before contexts must move on; None for any number."""
    max_length = longest_context(decoder.model)
    return None if max_length is None else max_length - decoder.length


def room_needed(model, longest, max_tokens):
    """Tokens that a decoder needs room for.

    Args:
        model: The model.
        longest: Tokens of the longest prompt.
        max_tokens: Most tokens after it.

    Raises:
        ValueError: If the prompt is longer than the model takes.
    """
    max_length = longest_context(model)
    if max_length is None:
        return longest + max_tokens
    if longest > max_length:
        raise ValueError(
            f"A prompt has {longest} tokens; the model takes {max_length}. Leave out its begin."
        )
    return min(longest + max_tokens, max_length)


def longest_context(model):
    """Most tokens that a model takes; None for any number, as recurrent models do."""
    return getattr(model, "max_length", None)
