"""Attention over caches of keys and values, on any backend."""

from keras import ops

from kerasllm.ops.attention import attention, attention_served
from kerasllm.ops.dispatch import served


def cached_attention(key_cache, value_cache, query, key, value, start, first_key=None, window=None):
    """Puts new keys and values into caches, and attends causally over what the caches hold.

    On TensorFlow, in float32 and bfloat16 (on a GPU float16 too), one fused op that writes in
    place, `kerasllm_ops.cached_attention`; elsewhere keras.ops.

    Args:
        key_cache: A `keras.Variable` `(batch, num_key_value_heads, max_length, head_dim)`.
        value_cache: The same for values.
        query: `(batch, query_length, num_heads, head_dim)`.
        key: `(batch, query_length, num_key_value_heads, head_dim)`.
        value: The same.
        start: int32 scalar, the place of the first query.
        first_key: int32 `(batch,)`, the first key that is no padding; 0 by default.
        window: A query sees that many of the latest keys; all by default.

    Returns:
        `(batch, query_length, num_heads, head_dim)`. A query that sees no key gives zeros.
    """
    fits = attention_served(query.dtype, query.shape[-1])
    if not (fits and served("cached_attention", query.dtype)):
        return composed_cached_attention(
            key_cache, value_cache, query, key, value, start, first_key, window
        )
    from kerasllm_ops.cached_attention import cached_attention as fused

    first_key = None if first_key is None else ops.convert_to_tensor(first_key)
    return fused(
        key_cache.value, value_cache.value, query, key, value, start, first_key, window=window
    )


def composed_cached_attention(
    key_cache, value_cache, query, key, value, start, first_key=None, window=None
):
    """`cached_attention` over whole copies of the caches; the arguments and the result are the
    same."""
    whole = []
    for cache, rows in ((key_cache, key), (value_cache, value)):
        rows = ops.cast(ops.transpose(rows, (0, 2, 1, 3)), cache.dtype)
        cache.assign(ops.slice_update(ops.convert_to_tensor(cache), (0, 0, start, 0), rows))
        whole.append(ops.transpose(ops.convert_to_tensor(cache), (0, 2, 1, 3)))
    batch, max_length = query.shape[0], key_cache.shape[2]
    mask = None
    if first_key is not None:
        places = ops.arange(max_length, dtype="int32")
        # (batch, 1, 1, max_length)
        mask = places >= ops.convert_to_tensor(first_key)[:, None, None, None]
    return attention(
        query,
        *whole,
        mask=mask,
        causal=True,
        window=window,
        query_offset=ops.broadcast_to(ops.cast(start, "int32"), (batch,)),
    )
