"""Keys and values of earlier positions, written in place."""

import keras
from keras import ops


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
    """

    def __init__(self, batch_size, max_length, num_heads, head_dim, dtype="float32"):
        self.shape = (batch_size, max_length, num_heads, head_dim)
        self.keys = self._buffer(dtype)
        self.values = self._buffer(dtype)

    def _buffer(self, dtype):
        return keras.Variable(ops.zeros(self.shape, dtype), trainable=False, dtype=dtype)

    def update(self, key, value, start_index):
        """Writes keys and values from a position on, and returns the whole buffers.

        Args:
            key: `(batch_size, time, num_heads, head_dim)`.
            value: The same.
            start_index: The position of the first, an integer or int32 scalar.
        """
        return _write(self.keys, key, start_index), _write(self.values, value, start_index)

    def reorder(self, rows):
        """Puts the sequences into another order, or one of them into several places.

        Args:
            rows: int32 `(batch_size,)`, which sequence each place gets.
        """
        for buffer in (self.keys, self.values):
            buffer.assign(ops.take(buffer, rows, axis=0))


def _write(buffer, new, start_index):
    if keras.backend.backend() != "tensorflow":
        buffer.assign(ops.slice_update(buffer, (0, start_index, 0, 0), new))
        return buffer.value
    import tensorflow as tf

    # Reads after this see it: a tf.function keeps the order of a variable's ops.
    variable, end = buffer.value, start_index + tf.shape(new)[1]
    variable[:, start_index:end].assign(tf.cast(new, variable.dtype))
    return variable.read_value()
