"""Which token comes next: greedy, or drawn from what temperature and cut-offs leave."""

import dataclasses
import functools

import keras
from keras import ops

# How many of the likeliest tokens are sorted for top-p; where they do not hold its share, all are.
_CANDIDATES = 1024


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. The cut-offs apply one after the other, in this order.

    Args:
        temperature: What logits are divided by; 0 takes the likeliest token. 1.0 by default.
        top_k: Only the k likeliest tokens; 0, by default, for all (Fan, Lewis and Dauphin,
            Hierarchical Neural Story Generation, 2018).
        top_p: Only the likeliest tokens that together have this probability; 1.0, by default, for
            all (Holtzman et al., The Curious Case of Neural Text Degeneration, 2020).
        min_p: Only tokens at least this share as likely as the likeliest; 0.0 by default (Nguyen et
            al., Turning Up the Heat: Min-p Sampling, 2024).
        repetition_penalty: Above 1, tokens that the text has already get less likely: positive
            logits are divided by it, negative ones multiplied (Keskar et al., CTRL, 2019). 1.0 by
            default.
        seed: An integer, with which the same call gives the same tokens; None for one at random.

    Raises:
        ValueError: If a number is out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self):
        for name, low, high in (
            ("temperature", 0, float("inf")),
            ("top_k", 0, float("inf")),
            ("top_p", 0, 1),
            ("min_p", 0, 1),
            ("repetition_penalty", 1e-3, float("inf")),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; expected a number from {low} to {high}.")

    def chooser(self):
        """The compiled function that chooses: see `choose_tokens`. Equal settings share one."""
        return _compiled(dataclasses.replace(self, seed=None))


@functools.lru_cache(maxsize=64)
def _compiled(sampling):
    def choose(logits, uniform, seen=None, allowed=None):
        return choose_tokens(logits, uniform, sampling, seen, allowed)

    if keras.backend.backend() != "tensorflow":
        return choose
    import tensorflow as tf

    # A trace for each shape: those of logits are known and few.
    return tf.function(choose)


def choose_tokens(logits, uniform, sampling, seen=None, allowed=None):
    """The next tokens.

    Args:
        logits: float32 `(batch, vocabulary_size)`.
        uniform: float32 `(batch,)` in `[0, 1)`, what a token is drawn by.
        sampling: A `Sampling`; its seed is not used here.
        seen: bool `(batch, vocabulary_size)`, the tokens that a text has; for the repetition
            penalty.
        allowed: bool `(batch, vocabulary_size)`, the tokens that may come; or None for all.

    Returns:
        int32 `(batch,)`.
    """
    logits = ops.cast(logits, "float32")
    if seen is not None and sampling.repetition_penalty != 1.0:
        penalty = sampling.repetition_penalty
        penalized = ops.where(logits > 0, logits / penalty, logits * penalty)
        logits = ops.where(seen, penalized, logits)
    if allowed is not None:
        logits = ops.where(allowed, logits, -float("inf"))
    if sampling.temperature == 0:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")
    logits = logits / sampling.temperature
    vocabulary_size = logits.shape[-1]
    top_k = min(sampling.top_k or vocabulary_size, vocabulary_size)
    if top_k == vocabulary_size and sampling.top_p >= 1:
        return ops.cast(_draw(_at_least(ops.softmax(logits), sampling.min_p), uniform), "int32")
    if top_k < vocabulary_size:
        return _draw_sorted(logits, uniform, sampling, top_k, renormalize=True)
    candidates = min(_CANDIDATES, vocabulary_size)
    if candidates == vocabulary_size:
        return _draw_sorted(logits, uniform, sampling, candidates)
    share = ops.sum(ops.top_k(ops.softmax(logits), candidates)[0], axis=-1)
    return ops.cond(
        ops.all(share >= sampling.top_p),
        lambda: _draw_sorted(logits, uniform, sampling, candidates),
        lambda: _draw_sorted(logits, uniform, sampling, vocabulary_size),
    )


def _draw_sorted(logits, uniform, sampling, count, renormalize=False):
    """Draws from the `count` likeliest tokens, in their order."""
    values, ids = ops.top_k(logits, count)
    total = ops.logsumexp(values if renormalize else logits, axis=-1, keepdims=True)
    probabilities = ops.exp(values - total)
    if sampling.top_p < 1:
        before = ops.cumsum(probabilities, axis=-1) - probabilities
        probabilities = ops.where(before < sampling.top_p, probabilities, 0.0)
        # The likeliest stays, whatever top_p is.
        first = ops.arange(count) == 0
        probabilities = ops.where(first, ops.exp(values - total), probabilities)
    places = _draw(_at_least(probabilities, sampling.min_p), uniform)
    return ops.cast(ops.take_along_axis(ids, places[:, None], axis=-1)[:, 0], "int32")


def _at_least(probabilities, min_p):
    if min_p == 0:
        return probabilities
    top = ops.max(probabilities, axis=-1, keepdims=True)
    return ops.where(probabilities >= min_p * top, probabilities, 0.0)


def _draw(weights, uniform):
    """Places `(batch,)` drawn by weights `(batch, n)`, of which those of 0 are never drawn."""
    sums = ops.cumsum(weights, axis=-1)
    # Below 1 by so much that the product is below the sum.
    uniform = ops.minimum(ops.cast(uniform, "float32"), 1 - 2**-23)
    below = sums <= uniform[:, None] * sums[:, -1:]
    return ops.sum(ops.cast(below, "int32"), axis=-1)
