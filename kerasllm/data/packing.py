"""Documents packed into rows without padding, in an order that is known for every step."""

import functools

import numpy as np


class PackedRows:
    """Rows of equal length over a stream of documents, shuffled anew in every epoch.

    In each epoch the documents are put into another order, one after the other, and cut into rows,
    the first of them at another place; then the rows are shuffled. Everything follows from the seed
    and the row's number, so a training that goes on at row n gets what it would have got, without
    any state, and nothing is padded. A corpus shorter than a few rows is repeated.

    Examples:

    >>> rows = PackedRows(cache.document_starts, length=256, overlap=1, seed=0)
    >>> places, documents = rows.places(first=0, count=32)
    >>> cache.token_ids[places].shape
    (32, 257)

    Args:
        document_starts: int64 `(documents + 1,)`, as a `TokenCache` has them.
        length: Tokens by which rows are apart, 1 or more.
        overlap: Tokens that a row has beyond these: 1 where the last one is only predicted.
        seed: An integer.
    """

    def __init__(self, document_starts, length, overlap=0, seed=0):
        if length < 1:
            raise ValueError(f"length is {length}; a row needs 1 token or more.")
        self.document_starts = np.asarray(document_starts, np.int64)
        self.length = length
        self.overlap = overlap
        self.seed = seed
        total = int(self.document_starts[-1])
        if total < 1:
            raise ValueError("There are no tokens to pack.")
        # At least four rows, wherever the first begins.
        self._repeats = -(-5 * (length + overlap) // total) if total < 5 * (length + overlap) else 1
        self.rows_per_epoch = (total * self._repeats - (length - 1) - overlap) // length
        self._epoch = functools.lru_cache(maxsize=2)(self._make_epoch)

    def places(self, first, count):
        """Where the tokens of rows `first` to `first + count` are.

        Returns:
            `(places, documents)`: int64 `(count, length + overlap)`, indices into the corpus's
            arrays, and int32 of that shape, which document of its row a token is of, from 0.
        """
        epochs, rows = np.divmod(np.arange(first, first + count), self.rows_per_epoch)
        parts = [
            self._places_in_epoch(int(epoch), rows[epochs == epoch]) for epoch in np.unique(epochs)
        ]
        places, documents = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return places, (documents - documents[:, :1]).astype(np.int32)

    def _places_in_epoch(self, epoch, rows):
        starts, begins, ends, shift, row_order = self._epoch(epoch)
        stream = (row_order[rows] * self.length + shift)[:, None]
        stream = stream + np.arange(self.length + self.overlap)
        slots = np.searchsorted(ends, stream, side="right")
        return starts[slots] + stream - begins[slots], slots

    def _make_epoch(self, epoch):
        """What all rows of an epoch share, made once: it takes time for each document.

        Where the documents, in their order, begin in the corpus, and begin and end in the epoch;
        the first row's place; the order of rows.
        """
        bits = np.random.Philox(key=[self.seed, epoch])
        documents = len(self.document_starts) - 1
        order = np.concatenate([_permutation(bits, documents) for _ in range(self._repeats)])
        lengths = np.diff(self.document_starts)[order]
        ends = np.cumsum(lengths)
        shift = int(bits.random_raw() % self.length)
        row_order = _permutation(bits, self.rows_per_epoch)
        return self.document_starts[:-1][order], ends - lengths, ends, shift, row_order


def _permutation(bits, count):
    # From raw bits, which NumPy promises to keep; its own permutations may change.
    return np.argsort(bits.random_raw(count), kind="stable")
