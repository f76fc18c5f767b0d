"""Which token comes next: greedy, or drawn from what temperature and cut-offs leave."""

import dataclasses
import functools
from typing import NamedTuple

import keras
import numpy as np
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
            ("top_k", 0, 2**31 - 1),
            ("top_p", 0, 1),
            ("min_p", 0, 1),
            ("repetition_penalty", 1e-3, float("inf")),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; expected a number from {low} to {high}.")
        if self.top_k != int(self.top_k):
            raise ValueError(f"top_k is {self.top_k}; expected a whole number.")
        object.__setattr__(self, "top_k", int(self.top_k))

    @property
    def form(self):
        """What decides which function chooses, a `SamplingForm`."""
        return SamplingForm(
            greedy=self.temperature == 0,
            top_k=self.top_k,
            has_top_p=self.top_p < 1,
            has_min_p=self.min_p > 0,
            has_penalty=self.repetition_penalty != 1,
        )

    @property
    def numbers(self):
        """What that function takes, float32 `(4,)`, so that other numbers need no other."""
        numbers = self.temperature, self.top_p, self.min_p, self.repetition_penalty
        return np.array(numbers, "float32")

    def chooser(self):
        """The compiled function that chooses: see `choose_tokens`. Equal forms share one."""
        return functools.partial(_compiled(self.form), self.numbers)


class SamplingForm(NamedTuple):
    """The part of a `Sampling` that a compiled function is made for."""

    greedy: bool
    top_k: int
    has_top_p: bool
    has_min_p: bool
    has_penalty: bool


@functools.lru_cache(maxsize=64)
def _compiled(form):
    def choose(numbers, logits, uniform, seen=None, allowed=None):
        return choose_by_form(logits, uniform, form, numbers, seen, allowed)

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
    return choose_by_form(logits, uniform, sampling.form, sampling.numbers, seen, allowed)


def choose_by_form(logits, uniform, form, numbers, seen=None, allowed=None):
    """`choose_tokens` by a `Sampling`'s `form` and `numbers`; the numbers may be a tensor."""
    numbers = ops.convert_to_tensor(numbers)
    logits = ops.cast(logits, "float32")
    if seen is not None and form.has_penalty:
        penalty = numbers[3]
        penalized = ops.where(logits > 0, logits / penalty, logits * penalty)
        logits = ops.where(seen, penalized, logits)
    if allowed is not None:
        logits = ops.where(allowed, logits, -float("inf"))
    if form.greedy:
        return _likeliest(logits)
    logits = logits / numbers[0]
    vocabulary_size = logits.shape[-1]
    top_k = min(form.top_k or vocabulary_size, vocabulary_size)
    if top_k == vocabulary_size and not form.has_top_p:
        probabilities = _at_least(ops.softmax(logits), form, numbers)
        return ops.cast(_draw(probabilities, uniform), "int32")
    draw = functools.partial(_draw_sorted, logits, uniform, form, numbers)
    if top_k < vocabulary_size:
        return draw(top_k, renormalize=True)
    candidates = min(_CANDIDATES, vocabulary_size)
    if candidates == vocabulary_size:
        return draw(candidates)
    share = ops.sum(ops.top_k(ops.softmax(logits), candidates)[0], axis=-1)
    return ops.cond(
        ops.all(share >= numbers[1]), lambda: draw(candidates), lambda: draw(vocabulary_size)
    )


def _likeliest(logits):
    """The first of the largest logits, in passes that are vectors' work, as argmax is not."""
    vocabulary_size = logits.shape[-1]
    largest = ops.equal(logits, ops.max(logits, axis=-1, keepdims=True))
    places = ops.where(largest, ops.arange(vocabulary_size, dtype="int32"), vocabulary_size - 1)
    return ops.min(places, axis=-1)


def _draw_sorted(logits, uniform, form, numbers, count, renormalize=False):
    """Draws from the `count` likeliest tokens, in their order."""
    values, ids = ops.top_k(logits, count)
    total = ops.logsumexp(values if renormalize else logits, axis=-1, keepdims=True)
    probabilities = ops.exp(values - total)
    if form.has_top_p:
        before = ops.cumsum(probabilities, axis=-1) - probabilities
        probabilities = ops.where(before < numbers[1], probabilities, 0.0)
        # The likeliest stays, whatever top_p is.
        first = ops.arange(count) == 0
        probabilities = ops.where(first, ops.exp(values - total), probabilities)
    places = _draw(_at_least(probabilities, form, numbers), uniform)
    return ops.cast(ops.take_along_axis(ids, places[:, None], axis=-1)[:, 0], "int32")


def _at_least(probabilities, form, numbers):
    if not form.has_min_p:
        return probabilities
    top = ops.max(probabilities, axis=-1, keepdims=True)
    return ops.where(probabilities >= numbers[2] * top, probabilities, 0.0)


def _draw(weights, uniform):
    """Places `(batch,)` drawn by weights `(batch, n)`, of which those of 0 are never drawn."""
    sums = ops.cumsum(weights, axis=-1)
    # Below 1 by so much that the product is below the sum.
    uniform = ops.minimum(ops.cast(uniform, "float32"), 1 - 2**-23)
    below = sums <= uniform[:, None] * sums[:, -1:]
    return ops.sum(ops.cast(below, "int32"), axis=-1)
