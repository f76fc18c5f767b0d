"""Rows into which several documents are packed, which do not see each other."""

from keras import ops


def same_document_mask(document_ids):
    """Which keys a query sees: those of its document.

    Args:
        document_ids: int32 `(batch, time)`, the number of each token's document in its row.

    Returns:
        bool `(batch, 1, time, time)`.
    """
    return ops.equal(document_ids[:, None, :, None], document_ids[:, None, None, :])


def positions_within(document_ids, position_ids, max_length):
    """Positions counted from the first token of each document.

    Args:
        document_ids: int32 `(batch, time)`, the number of each token's document in its row.
        position_ids: int32 `(batch, time)`, positions in the row.
        max_length: No document is longer.

    Returns:
        int32 `(batch, time)`.
    """
    begins = ops.pad(ops.not_equal(document_ids[:, 1:], document_ids[:, :-1]), ((0, 0), (1, 0)))
    starts = ops.where(begins, position_ids, 0)
    # The running maximum by doubling, as lengths may be unknown.
    shift = 1
    while shift < max_length:
        before = ops.pad(starts, ((0, 0), (shift, 0)))[:, : ops.shape(starts)[1]]
        starts = ops.maximum(starts, before)
        shift *= 2
    return position_ids - starts
