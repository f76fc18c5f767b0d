"""Reaching the output of a model's embedding layer without changing the model."""

import contextlib

from keras import ops


@contextlib.contextmanager
def embedding_hook(layer, replace_ids, change_embeddings):
    """While it is open, the layer looks up other ids and gives other embeddings.

    The output is changed and not the table: a text's words get vectors of their own even where
    another text has the same word, nothing is written that would have to be restored, and the work
    is that of the batch and not of the vocabulary.

    Args:
        layer: The embedding layer.
        replace_ids: A function of `(token_ids, mask)` to token ids.
        change_embeddings: A function of `(embeddings, mask)` to embeddings.

    Yields:
        A list with `(embeddings, mask)` of each call of the layer, as they are after the change.
    """
    call = layer.call
    found = []

    def hooked_call(inputs, *args, **kwargs):
        mask = layer.compute_mask(inputs, None)
        if mask is None:
            mask = ops.ones(ops.shape(inputs)[:2], "bool")
        embeddings = call(replace_ids(inputs, mask), *args, **kwargs)
        embeddings = change_embeddings(embeddings, mask)
        found.append((embeddings, mask))
        return embeddings

    layer.call = hooked_call
    try:
        yield found
    finally:
        del layer.call
