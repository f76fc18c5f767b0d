"""Attention over caches of keys and values that are written in place."""

import tensorflow as tf

from kerasllm_ops.loader import load, required_ops


def cached_attention(
    key_cache,
    value_cache,
    query,
    key,
    value,
    start,
    first_key=None,
    window=None,
    scale=None,
    name=None,
):
    """Puts new keys and values into caches, and attends causally over what the caches hold.

    With one query to a text, as at each step of decoding, keys and values pass by once for all the
    query heads that share them. The begin of texts (`start` 0) is computed by the kernel of
    `attention`. For decoding: there is no gradient, and no kernel for XLA.

    Args:
        key_cache: A `tf.Variable` `(batch, num_key_value_heads, max_length, head_dim)`, float32,
            bfloat16 or, on a GPU, float16, which is written in place.
        value_cache: The same for values; another variable.
        query: `(batch, query_length, num_heads, head_dim)`.
        key: `(batch, query_length, num_key_value_heads, head_dim)`.
        value: The same.
        start: int32 scalar, the place of the first query.
        first_key: int32 `(batch,)`, the first key that is no padding; 0 by default.
        window: A query sees that many of the latest keys; all by default.
        scale: What the products are multiplied by, a float; `1 / sqrt(head_dim)` by default.
        name: The op's name.

    Returns:
        `(batch, query_length, num_heads, head_dim)`. A query that sees no key gives zeros.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If shapes do not fit each other, or the caches are too short.
    """
    query = tf.convert_to_tensor(query)
    return required_ops("cached_attention").kerasllm_cached_attention(
        key_cache=key_cache.handle,
        value_cache=value_cache.handle,
        query=query,
        key=key,
        value=value,
        start=start,
        first_key=tf.zeros((0,), tf.int32) if first_key is None else first_key,
        scale=query.shape[-1] ** -0.5 if scale is None else scale,
        window=window or 0,
        name=name,
    )


if load().ops is not None:
    tf.no_gradient("KerasllmCachedAttention")
