"""A corpus as a language model's inputs: documents packed into rows, with the next tokens."""

import hashlib

import numpy as np

from kerasllm.data.packing import PackedRows
from kerasllm.text.text_pieces import text_pieces

# The characters whose tokens are lists and objects of Python at the same time, at 80 bytes each.
_CHARACTERS_AT_ONCE = 1 << 18


class LanguageModelEncoder:
    """Makes a corpus's documents to tokens for `open_token_cache`: the end token, then the text's.

    The end token before each document is what the model sees when it begins one, and what it
    predicts when one has ended. Documents that are long, such as books, are tokenised in pieces,
    to the same tokens.

    Args:
        tokenizer: Has `encode(texts)`, which gives lists of ids, `end_id`, and `__len__`. A
            `fingerprint`, a str that changes with the ids it gives, if it has one; else that of its
            whole state.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.dtypes = {"token_ids": np.uint16 if len(tokenizer) <= 1 << 16 else np.int32}
        self.fingerprint = f"language model 1: {tokenizer_fingerprint(tokenizer)}"

    def __call__(self, documents):
        parts, lengths = [np.empty(0, self.dtypes["token_ids"])], []
        for batch in self._batches(documents):
            token_lists = self.tokenizer.encode([text for _, text in batch])
            size = sum(begins for begins, _ in batch) + sum(map(len, token_lists))
            token_ids, end = np.empty(size, self.dtypes["token_ids"]), 0
            for (begins, _), ids in zip(batch, token_lists, strict=True):
                if begins:
                    token_ids[end] = self.tokenizer.end_id
                    lengths.append(0)
                begin, end = end + begins, end + begins + len(ids)
                token_ids[begin:end] = ids
                lengths[-1] += begins + len(ids)
            parts.append(token_ids)
        return {"token_ids": np.concatenate(parts)}, lengths

    def _batches(self, documents):
        """Lists of pairs: whether a document begins here, 1 or 0, and a text."""
        batch, characters = [], 0
        for document in documents:
            for number, piece in enumerate(text_pieces(document, self.tokenizer.encode)):
                batch.append((int(number == 0), piece))
                characters += len(piece)
                if characters >= _CHARACTERS_AT_ONCE:
                    yield batch
                    batch, characters = [], 0
        if batch:
            yield batch


class LanguageModelRows:
    """Training inputs of a language model, by row number; see `PackedRows` for their order.

    Examples:

    >>> rows = LanguageModelRows(cache, length=256, seed=0)
    >>> sorted(rows(first_row=64, rows=32))
    ['labels', 'segment_ids', 'token_ids']

    Args:
        cache: A `TokenCache` that `LanguageModelEncoder` made.
        length: Tokens of a row.
        seed: An integer.
    """

    def __init__(self, cache, length, seed=0):
        self.token_ids = cache.token_ids
        self.packed = PackedRows(cache.document_starts, length, overlap=1, seed=seed)
        # One document in all has no borders.
        self.has_segments = cache.documents > 1

    def __call__(self, first_row, rows):
        """The inputs of some rows: a dict of int32 arrays `(rows, length)`."""
        places, documents = self.packed.places(first_row, rows)
        token_ids = self.token_ids[places].astype(np.int32)
        inputs = {"token_ids": token_ids[:, :-1], "labels": token_ids[:, 1:]}
        if self.has_segments:
            inputs["segment_ids"] = documents[:, :-1]
        return {name: np.ascontiguousarray(array) for name, array in inputs.items()}


def tokenizer_fingerprint(tokenizer):
    """A str that changes with what a tokenizer does."""
    if hasattr(tokenizer, "fingerprint"):
        return tokenizer.fingerprint
    content = repr(tokenizer.get_config()).encode("utf-8", "surrogatepass")
    return f"{type(tokenizer).__name__} {hashlib.blake2b(content, digest_size=16).hexdigest()}"
