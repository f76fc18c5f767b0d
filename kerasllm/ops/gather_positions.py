"""The positions of a sequence that a masked language model predicts."""

from keras import ops


def gather_positions(hidden_states, positions):
    """The hidden states at some positions of each sequence.

    A masked language model predicts about 15% of the positions (Devlin et al., BERT, 2019); the
    last layer then needs no more than these. Sequences with fewer predictions than the longest fill
    up with any valid position, such as 0, whose label is `ignore_index`.

    Args:
        hidden_states: `(batch, time, dim)`.
        positions: Integers `(batch, num_predictions)`, each in `[0, time)`.

    Returns:
        `(batch, num_predictions, dim)`.
    """
    batch, time, dim = ops.shape(hidden_states)
    positions = ops.cast(positions, "int32")
    # One gather over (batch * time): as fast as one can be, and the same on every backend.
    rows = positions + ops.expand_dims(ops.arange(batch, dtype="int32"), 1) * time
    return ops.take(ops.reshape(hidden_states, (-1, dim)), rows, axis=0)
