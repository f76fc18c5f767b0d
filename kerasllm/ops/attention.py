"""Softmax attention, on any backend."""

import keras
from keras import ops

from kerasllm.ops.dispatch import why_not_served
from kerasllm.ops.random import dropout_factors

# The largest head_dim and value_dim that the fused op takes.
MAX_HEAD_DIM = 256


def attention(
    query,
    key,
    value,
    lengths=None,
    mask=None,
    causal=False,
    window=None,
    query_offset=None,
    query_mask=None,
    scale=None,
    soft_cap=None,
    dropout_rate=0.0,
    seed=None,
):
    """Softmax attention, `dropout(softmax(scale * query . key + mask)) . value`, head by head.

    On TensorFlow, in float32 and bfloat16, one fused op without the matrix of scores,
    `kerasllm_ops.attention`, whose docstring has the sources; elsewhere keras.ops. A query that
    sees no key gives zeros.

    Examples:

    >>> query = keras.random.normal((2, 10, 8, 64))
    >>> key = value = keras.random.normal((2, 10, 2, 64))
    >>> attention(query, key, value, causal=True).shape
    TensorShape([2, 10, 8, 64])

    Args:
        query: `(batch, query_length, num_heads, head_dim)`.
        key: `(batch, key_length, num_key_value_heads, head_dim)`; each of its heads serves
            `num_heads / num_key_value_heads` heads of `query`.
        value: `(batch, key_length, num_key_value_heads, value_dim)`.
        lengths: int32 `(batch,)`; keys from there on are padding.
        mask: `(batch or 1, num_heads or 1, query_length or 1, key_length)`: bool, true where a
            query sees a key; or numbers that are added to the scores.
        causal: Whether a query sees no key after its own place.
        window: A query sees the `window` latest keys, that at its own place included, and, if not
            causal, as many the other way.
        query_offset: int32 `(batch,)`, the place of the first query among the keys; 0 by default.
        query_mask: bool `(batch, query_length)`, false where a query sees no key.
        scale: What the products are multiplied by, a float; `1 / sqrt(head_dim)` by default.
        soft_cap: Scores become `soft_cap * tanh(score / soft_cap)`, a float above 0.
        dropout_rate: The share of probabilities dropped, in `[0, 1)`.
        seed: int32 `(2,)`, as `kerasllm.ops.draw_seed` gives it; needed for dropout.

    Returns:
        `(batch, query_length, num_heads, value_dim)`, in the dtype of `query`.

    Raises:
        ValueError: If there is a dropout rate and no seed.
    """
    function = composed_attention
    if attention_served(query.dtype, query.shape[-1], value.shape[-1]):
        from kerasllm_ops.attention import attention as function
    return function(
        query,
        key,
        value,
        lengths=lengths,
        mask=mask,
        causal=causal,
        window=window,
        query_offset=query_offset,
        query_mask=query_mask,
        scale=scale,
        soft_cap=soft_cap,
        dropout_rate=dropout_rate,
        seed=seed,
    )


def attention_served(dtype, *dims):
    """Whether the fused op takes this dtype, and heads of these dims, here."""
    return why_attention_not_served(dtype, *dims) is None


def why_attention_not_served(dtype, *dims):
    """Why it does not, as a sentence; None where it does."""
    if max(dims) > MAX_HEAD_DIM:
        return f"its heads have {max(dims)} features; the op takes up to {MAX_HEAD_DIM}"
    return why_not_served("attention", dtype)


def composed_attention(
    query,
    key,
    value,
    lengths=None,
    mask=None,
    causal=False,
    window=None,
    query_offset=None,
    query_mask=None,
    scale=None,
    soft_cap=None,
    dropout_rate=0.0,
    seed=None,
):
    """`attention` in keras.ops, with the matrix of scores; the arguments and the result are the
    same, the elements dropped too."""
    if dropout_rate and seed is None:
        raise ValueError(f"dropout_rate is {dropout_rate} and seed is None; expected a seed")
    probabilities = attention_probabilities(
        query, key, lengths, mask, causal, window, query_offset, query_mask, scale, soft_cap
    )
    if dropout_rate:
        shape = ops.shape(probabilities)
        factors = dropout_factors(seed, shape, dropout_rate)
        probabilities = probabilities * ops.cast(factors, probabilities.dtype)
    group = query.shape[2] // value.shape[2]
    if group > 1:
        value = ops.repeat(value, group, axis=2)
    return ops.einsum("bhij,bjhd->bihd", ops.cast(probabilities, query.dtype), value)


def attention_probabilities(
    query,
    key,
    lengths=None,
    mask=None,
    causal=False,
    window=None,
    query_offset=None,
    query_mask=None,
    scale=None,
    soft_cap=None,
):
    """The probabilities of `attention`, which its fused op never has in memory, in keras.ops.

    The arguments are those of `attention`.

    Returns:
        `(batch, num_heads, query_length, key_length)`, float32 at least; rows sum to 1, or are
        zeros where a query sees no key.
    """
    dtype = query.dtype
    # Scores and sums in float32 at least.
    wide = keras.backend.result_type(dtype, "float32")
    batch, query_length, num_heads, head_dim = ops.shape(query)
    key_length, num_key_value_heads = ops.shape(key)[1:3]
    scale = head_dim**-0.5 if scale is None else scale
    group = num_heads // num_key_value_heads
    if group > 1:
        key = ops.repeat(key, group, axis=2)

    # (batch, num_heads, query_length, key_length)
    scores = ops.einsum("bihd,bjhd->bhij", query, key)
    scores = ops.cast(scores, wide) * scale
    if soft_cap:
        scores = soft_cap * ops.tanh(scores / soft_cap)
    seen = _visible(query_length, key_length, lengths, causal, window, query_offset)
    if query_mask is not None:
        seen = ops.logical_and(seen, ops.reshape(query_mask, (batch, 1, query_length, 1)))
    if mask is not None:
        mask = ops.convert_to_tensor(mask)
        if keras.backend.standardize_dtype(mask.dtype) == "bool":
            seen = ops.logical_and(seen, mask)
        else:
            seen = ops.logical_and(seen, mask > -float("inf"))
            scores = scores + ops.cast(mask, wide)
    scores = ops.where(seen, scores, -1e30)
    top = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
    weights = ops.where(seen, ops.exp(scores - top), 0.0)
    total = ops.sum(weights, axis=-1, keepdims=True)
    return weights / ops.where(total == 0, 1.0, total)


def _visible(query_length, key_length, lengths, causal, window, query_offset):
    """bool `(batch or 1, 1, query_length, key_length)`."""
    place = ops.reshape(ops.arange(query_length, dtype="int32"), (1, 1, query_length, 1))
    if query_offset is not None:
        place = place + ops.reshape(query_offset, (-1, 1, 1, 1))
    keys = ops.reshape(ops.arange(key_length, dtype="int32"), (1, 1, 1, key_length))
    seen = keys < (key_length if lengths is None else ops.reshape(lengths, (-1, 1, 1, 1)))
    if causal:
        seen = ops.logical_and(seen, keys <= place)
    if window:
        seen = ops.logical_and(seen, ops.logical_and(place - keys < window, keys - place < window))
    return seen
