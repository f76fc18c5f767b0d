"""The sum of token, position and segment embeddings, on any backend."""

import keras
from keras import ops

from kerasllm.ops.dispatch import served


def embedding(
    token_ids,
    token_embeddings,
    position_embeddings=None,
    segment_ids=None,
    segment_embeddings=None,
    start=None,
    dtype=None,
):
    """The sum of a token's, its position's and its segment's embedding, the last two if given.

    On TensorFlow, with tables and outputs in float32 or bfloat16 (on a GPU float16 too), one fused
    op, `kerasllm_ops.embedding`, which refuses ids that have no row, negative ones too; on a GPU
    their outputs are NaN, as the host cannot look at them without waiting. Elsewhere keras.ops,
    where such ids give what the backend makes of them.

    Args:
        token_ids: ints `(batch, time)`, each at least 0 and below `vocabulary`.
        token_embeddings: `(vocabulary, dim)`.
        position_embeddings: `(max_length, dim)`, row `start + t` of it is added at time `t`; or
            None.
        segment_ids: ints `(batch, time)`, each at least 0 and below `num_segments`; or None.
        segment_embeddings: `(num_segments, dim)`, or None.
        start: int scalar, the position of the first step. 0 by default.
        dtype: Dtype of the outputs. That of `token_embeddings` by default.

    Returns:
        `(batch, time, dim)`, summed in float32 at least.

    Raises:
        ValueError: If one of `segment_ids` and `segment_embeddings` is given without the other.
    """
    if (segment_ids is None) != (segment_embeddings is None):
        raise ValueError("Of segment_ids and segment_embeddings only one is given; expected both.")
    dtype = keras.backend.standardize_dtype(dtype or token_embeddings.dtype)
    if not _served(keras.backend.standardize_dtype(token_embeddings.dtype), dtype):
        return composed_embedding(
            token_ids,
            token_embeddings,
            position_embeddings,
            segment_ids,
            segment_embeddings,
            start,
            dtype,
        )
    from kerasllm_ops.embedding import embedding as fused

    return fused(
        _as_int32(token_ids),
        ops.convert_to_tensor(token_embeddings),
        None if position_embeddings is None else ops.convert_to_tensor(position_embeddings),
        None if segment_ids is None else _as_int32(segment_ids),
        None if segment_embeddings is None else ops.convert_to_tensor(segment_embeddings),
        None if start is None else ops.cast(start, "int32"),
        dtype,
    )


def _served(table, outputs):
    """Whether the fused op takes tables and outputs of these dtypes: two different half precisions
    have no kernel."""
    if {table, outputs} == {"bfloat16", "float16"}:
        return False
    return served("embedding", table) and served("embedding", outputs)


def _as_int32(ids):
    ids = ops.convert_to_tensor(ids)
    if keras.backend.standardize_dtype(ids.dtype) in ("int64", "uint32", "uint64"):
        # So that an id beyond 32 bits stays one without a row.
        ids = ops.clip(ops.cast(ids, "int64"), -1, 2**31 - 1)
    return ops.cast(ids, "int32")


def composed_embedding(
    token_ids,
    token_embeddings,
    position_embeddings=None,
    segment_ids=None,
    segment_embeddings=None,
    start=None,
    dtype=None,
):
    """`embedding` in keras.ops; the arguments and the result are the same."""
    dtype = dtype or token_embeddings.dtype
    sum_dtype = keras.backend.result_type(token_embeddings.dtype, "float32")

    def rows(table, ids):
        return ops.cast(ops.take(table, ids, axis=0), sum_dtype)

    outputs = rows(token_embeddings, token_ids)
    if position_embeddings is not None:
        positions = ops.arange(ops.shape(token_ids)[1]) + ops.cast(start or 0, "int32")
        outputs = outputs + rows(position_embeddings, positions)
    if segment_ids is not None:
        outputs = outputs + rows(segment_embeddings, segment_ids)
    return ops.cast(outputs, dtype)
