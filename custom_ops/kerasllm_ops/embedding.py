"""The embedding op: a token's, a position's and a segment's row, and their tables' gradients."""

import tensorflow as tf

from kerasllm_ops.loader import load, required_ops


def embedding(
    token_ids,
    token_embeddings,
    position_embeddings=None,
    segment_ids=None,
    segment_embeddings=None,
    start=None,
    dtype=None,
    name=None,
):
    """The sum of up to three embeddings, in one pass, summed in float32.

    The gradients of the tables are dense; a row's is the sum over its tokens in their order, the
    same bits for any number of threads.

    On a GPU, where the host cannot look at ids without waiting for the device, an id, segment or
    position that has no row is no error: the token's output is NaN, and it takes part in no
    gradient. Gradients of float32 tables are summed there in any order, unless TensorFlow's op
    determinism is on.

    Args:
        token_ids: int32 `(batch, time)`, each at least 0 and below `vocabulary`.
        token_embeddings: float32 or bfloat16, on a GPU also float16, `(vocabulary, dim)`.
        position_embeddings: `(max_length, dim)`, row `start + t` of it is added at time `t`; or
            None. Of the dtype of `token_embeddings`.
        segment_ids: int32 `(batch, time)`, each at least 0 and below `num_segments`; or None.
        segment_embeddings: `(num_segments, dim)`, or None. Of the dtype of `token_embeddings`.
        start: int32 scalar, the position of the first step. 0 by default.
        dtype: Dtype of the outputs, float32, bfloat16 or on a GPU float16; of two half precisions
            only one may occur. That of `token_embeddings` by default.
        name: The op's name.

    Returns:
        `(batch, time, dim)`.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If shapes do not fit each other, or, on the CPU, an id or a position
            has no row.
    """
    ops = required_ops("embedding")
    token_embeddings = tf.convert_to_tensor(token_embeddings)
    absent = tf.zeros((0, 0), token_embeddings.dtype)
    return ops.kerasllm_embedding(
        token_ids=token_ids,
        token_embeddings=token_embeddings,
        position_embeddings=absent if position_embeddings is None else position_embeddings,
        segment_ids=tf.zeros((0, 0), tf.int32) if segment_ids is None else segment_ids,
        segment_embeddings=absent if segment_embeddings is None else segment_embeddings,
        start=0 if start is None else start,
        U=token_embeddings.dtype if dtype is None else dtype,
        name=name,
    )


def _gradient(op, d_outputs):
    """Gradients of KerasllmEmbedding by its six inputs."""
    d_tokens, d_positions, d_segments = load().ops.kerasllm_embedding_grad(*op.inputs, d_outputs)
    return [None, d_tokens, d_positions, None, d_segments, None]


def _second_gradient(op, dd_tokens, dd_positions, dd_segments):
    """Gradients of KerasllmEmbeddingGrad, which is linear: by d_outputs, a lookup again."""
    token_ids, _, _, segment_ids, _, start, d_outputs = op.inputs
    dd_outputs = load().ops.kerasllm_embedding(
        token_ids, dd_tokens, dd_positions, segment_ids, dd_segments, start, U=d_outputs.dtype
    )
    return [None] * 6 + [dd_outputs]


if load().ops is not None:
    tf.RegisterGradient("KerasllmEmbedding")(_gradient)
    tf.RegisterGradient("KerasllmEmbeddingGrad")(_second_gradient)
