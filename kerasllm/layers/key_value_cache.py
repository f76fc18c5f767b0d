"""Keys and values of earlier positions, written in place."""

import keras
from keras import ops

from kerasllm.ops.cached_attention import cached_attention


class KeyValueCache:
    """A buffer of keys and values, of a fixed size, for `CachedMultiHeadAttention`.

    What `CachedMultiHeadAttention.make_cache` gives is copied whole at each step. This one is a
    pair of variables of which a step writes its own positions only. It is not part of a model.

    Examples:

    >>> cache = kerasllm.layers.KeyValueCache(1, 1024, num_heads=2, head_dim=32)
    >>> outputs, cache = layer(inputs, causal=True, cache=cache, start_index=0)

    Args:
        batch_size: Number of sequences.
        max_length: Number of positions.
        num_heads: Number of key and value heads.
        head_dim: Size of a head.
        dtype: Of keys and values. `"float32"` by default.
        first_key: int32 variable `(batch_size,)`, the first position of each sequence that is no
            padding; or None for zeros.
    """

    def __init__(
        self, batch_size, max_length, num_heads, head_dim, dtype="float32", first_key=None
    ):
        shape = (batch_size, num_heads, max_length, head_dim)
        self.keys, self.values = (
            keras.Variable(ops.zeros(shape, dtype), trainable=False, dtype=dtype) for _ in range(2)
        )
        self.first_key = first_key

    def attend(self, query, key, value, start_index, window=None):
        """Writes keys and values from a position on, and attends over all up to each query.

        Args:
            query: `(batch_size, time, num_query_heads, head_dim)`.
            key: `(batch_size, time, num_heads, head_dim)`.
            value: The same.
            start_index: The position of the first, an integer or int32 scalar.
            window: A query sees that many of the latest positions; all by default.

        Returns:
            A tensor in the shape of `query`.
        """
        return cached_attention(
            self.keys, self.values, query, key, value, start_index, self.first_key, window
        )

    def reorder(self, rows):
        """Puts the sequences into another order, or one of them into several places.

        Args:
            rows: int32 `(batch_size,)`, which sequence each place gets.
        """
        for buffer in (self.keys, self.values):
            buffer.assign(ops.take(buffer, rows, axis=0))
