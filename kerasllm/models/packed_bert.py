"""A BERT over rows in which documents follow each other without padding."""

from keras import ops

from kerasllm.models.packed_rows import same_document_mask
from kerasllm.ops.embedding import embedding


def packed_states(backbone, inputs, training=False):
    """The last states of a `BertBackbone`, each document seen as if it stood alone in its row.

    Attention does not leave a document, and positions are counted in it; so nothing is spent on
    padding, and what is learned is what a model of single texts needs (Krell, Kosec, Perez and
    Fitzgibbon, Efficient Sequence Packing without Cross-contamination, 2021).

    Args:
        backbone: The `BertBackbone`.
        inputs: A dict of int32 `(batch, time)`: `token_ids`; `position_ids`, below the backbone's
            `max_length`; `document_ids`, the number of the token's document in its row; and
            `segment_ids`, if there are any.
        training: Whether dropout is on.

    Returns:
        `(batch, time, hidden_dim)`.
    """
    tables = backbone.embedding
    x = embedding(
        inputs["token_ids"],
        tables.token_embeddings,
        segment_ids=inputs["position_ids"],
        segment_embeddings=tables.position_embeddings,
        dtype=tables.compute_dtype,
    )
    if tables.segment_embeddings is not None:
        segment_ids = inputs.get("segment_ids")
        if segment_ids is None:
            segment_ids = ops.zeros_like(inputs["token_ids"])
        x = x + embedding(segment_ids, tables.segment_embeddings, dtype=tables.compute_dtype)
    x = backbone.embedding_norm(x)
    x = backbone.get_layer("embedding_dropout")(x, training=training)
    if backbone.embedding_projection is not None:
        x = backbone.embedding_projection(x)
    mask = same_document_mask(inputs["document_ids"])
    for block in backbone.blocks:
        x = block(x, attention_mask=mask, training=training)
    return x
