"""A corpus as a masked language model's inputs: packed documents, whole words masked."""

import hashlib
import itertools

import numpy as np

from kerasllm.data.packing import PackedRows
from kerasllm.text.jieba_tokenizer import JiebaTokenizer

IGNORED = -100
# What a token is to masking: inside a word, the first of one, or none that is ever masked.
_INSIDE, _BEGINS, _SPECIAL = 0, 1, 2


class MaskedLanguageModelEncoder:
    """Makes documents to tokens for `open_token_cache`: `[CLS]`, pieces, `[SEP]`, and words.

    Besides `token_ids` the cache gets `word_marks`: where a word begins, by jieba. BERT's tokeniser
    takes Chinese apart into characters, so jieba alone knows which of them are masked together.
    Documents that are longer than a row are cut into several.

    Args:
        tokenizer: A `kerasllm.text.WordPieceTokenizer`.
        max_length: Most tokens of a document, the special ones included.

    Raises:
        ValueError: If `max_length` is below 3.
    """

    def __init__(self, tokenizer, max_length):
        if max_length < 3:
            raise ValueError(f"max_length is {max_length}; expected 3 or more.")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.words = JiebaTokenizer(keep_blanks=True)
        ids = np.uint16 if len(tokenizer) <= 1 << 16 else np.int32
        self.dtypes = {"token_ids": ids, "word_marks": np.uint8}
        config = repr((tokenizer.get_config(), self.words.get_config()))
        content = hashlib.blake2b(config.encode("utf-8", "surrogatepass"), digest_size=16)
        self.fingerprint = f"masked language model 1: {max_length} {content.hexdigest()}"

    def __call__(self, documents):
        found = self.tokenizer.tokenize(documents, offsets="code_points")
        marks = self._word_marks(documents, found["starts"], found["row_splits"])
        cls_id = self.tokenizer.token_to_id(self.tokenizer.cls_token)
        sep_id = self.tokenizer.token_to_id(self.tokenizer.sep_token)
        token_ids, word_marks, lengths = [], [], []
        special, room = [_SPECIAL], self.max_length - 2
        for begin, end in itertools.pairwise(found["row_splits"].tolist()):
            for first in range(begin, end, room):
                last = min(first + room, end)
                token_ids += [[cls_id], found["token_ids"][first:last], [sep_id]]
                word_marks += [special, marks[first:last], special]
                lengths.append(last - first + 2)
        if not lengths:
            return {name: np.empty(0, dtype) for name, dtype in self.dtypes.items()}, []
        arrays = {
            "token_ids": np.concatenate(token_ids),
            "word_marks": np.concatenate(word_marks),
        }
        return arrays, lengths

    def _word_marks(self, documents, starts, row_splits):
        """uint8 `(tokens,)`: 1 where a token lies in another word than the one before it."""
        marks = np.empty(len(starts), np.uint8)
        segmented = self.words.segment(documents)
        for words, (begin, end) in zip(segmented, itertools.pairwise(row_splits), strict=True):
            if begin == end:
                continue
            ends = np.cumsum([len(word) for word in words])
            word_of_token = np.searchsorted(ends, starts[begin:end], side="right")
            marks[begin] = _BEGINS
            marks[begin + 1 : end] = np.diff(word_of_token) != 0
        return marks


class MaskedLanguageModelRows:
    """Training inputs of a masked language model, by row number; see `PackedRows` for their order.

    Of the tokens of a row 15% are to be guessed, whole words at a time (Cui et al., Pre-Training
    with Whole Word Masking for Chinese BERT, 2019): of these 80% become `[MASK]`, 10% any token,
    and 10% stay (Devlin et al., BERT, 2019). What is masked is drawn for each row by its number, so
    it is another choice in each epoch (Liu et al., RoBERTa, 2019), and the same one in a resumed
    training.

    Args:
        cache: A `TokenCache` that `MaskedLanguageModelEncoder` made.
        tokenizer: The same `WordPieceTokenizer`.
        length: Tokens of a row.
        seed: An integer.
        masked_share: The share of tokens to guess. 0.15 by default.

    Raises:
        ValueError: If `masked_share` is not between 0 and 1.
    """

    def __init__(self, cache, tokenizer, length, seed=0, masked_share=0.15):
        if not 0 < masked_share < 1:
            raise ValueError(f"masked_share is {masked_share}; expected a number between 0 and 1.")
        self.token_ids = cache.token_ids
        self.word_marks = cache.arrays["word_marks"]
        self.document_starts = cache.document_starts
        self.packed = PackedRows(cache.document_starts, length, seed=seed)
        self.length = length
        self.seed = seed
        self.masked_share = masked_share
        self.num_predictions = max(1, round(masked_share * length))
        self.mask_id = tokenizer.token_to_id(tokenizer.mask_token)
        special = {
            tokenizer.token_to_id(token)
            for token in (
                *(tokenizer.pad_token, tokenizer.unknown_token, tokenizer.cls_token),
                *(tokenizer.sep_token, tokenizer.mask_token),
            )
        }
        ordinary = [token_id for token_id in range(len(tokenizer)) if token_id not in special]
        self._ordinary_ids = np.asarray(ordinary or [self.mask_id], np.int32)

    def __call__(self, first_row, rows):
        """The inputs of some rows.

        Returns:
            A dict of int32 arrays: `"token_ids"`, `"position_ids"` (within the document) and
            `"document_ids"` (which of the row), `(rows, length)`; `"mask_positions"` and
            `"labels"`, `(rows, num_predictions)`, the label -100 where there are fewer.
        """
        places, documents = self.packed.places(first_row, rows)
        token_ids = self.token_ids[places].astype(np.int32)
        document_of_place = np.searchsorted(self.document_starts, places, side="right") - 1
        choice, fate = self._random(first_row, rows)
        positions, counts = self._choose(self.word_marks[places], documents, choice)
        labels = np.where(counts, np.take_along_axis(token_ids, positions, axis=1), IGNORED)
        self._mask(token_ids, positions, counts, np.take_along_axis(fate, positions, axis=1))
        inputs = {
            "token_ids": token_ids,
            "position_ids": places - self.document_starts[document_of_place],
            "document_ids": documents,
            "mask_positions": np.where(counts, positions, 0),
            "labels": labels,
        }
        return {name: np.ascontiguousarray(array, np.int32) for name, array in inputs.items()}

    def _random(self, first_row, rows):
        """Two arrays of random bits, uint64 `(rows, length)`, that depend on the rows' numbers."""
        blocks = -(-2 * self.length // 4)  # Philox counts by four numbers
        bits = np.random.Philox(key=[self.seed, 1 << 32], counter=first_row * blocks)
        numbers = bits.random_raw(rows * blocks * 4).reshape(rows, -1)
        return numbers[:, : self.length], numbers[:, self.length : 2 * self.length]

    def _choose(self, marks, documents, choice):
        """Which positions are to be guessed: `(positions, counts)`, `(rows, num_predictions)`."""
        begins = marks != _INSIDE
        begins[:, 0] = True
        begins[:, 1:] |= np.diff(documents) != 0
        places = np.where(begins, np.arange(self.length), 0)
        word = np.maximum.accumulate(places, axis=1)  # where the token's word begins
        special = marks == _SPECIAL
        # Words in random order, each with all its tokens; special ones last.
        key = np.take_along_axis(choice >> 1, word, axis=1)
        key[special] = np.iinfo(np.uint64).max
        order = np.argsort(key, axis=1, kind="stable")
        wanted = np.ceil(self.masked_share * (~special).sum(axis=1)).astype(np.int64)
        wanted = np.minimum(wanted, self.num_predictions)[:, None]
        ordered_words = np.take_along_axis(word, order, axis=1)
        index = np.arange(self.num_predictions)
        counts = index < wanted
        # A last word that does not fit whole is left out, unless it is the only one.
        last = np.take_along_axis(ordered_words, np.maximum(wanted - 1, 0), axis=1)
        following = np.take_along_axis(ordered_words, np.minimum(wanted, self.length - 1), axis=1)
        chosen = ordered_words[:, : self.num_predictions]
        partial = (last == following) & (wanted < self.length) & (chosen == last)
        whole = counts & ~partial
        counts = np.where(whole.any(axis=1, keepdims=True), whole, counts)
        return order[:, : self.num_predictions], counts

    def _mask(self, token_ids, positions, counts, fate):
        """Replaces the tokens to guess, in place."""
        share = (fate >> 32).astype(np.float64) / 2**32
        any_token = self._ordinary_ids[(fate & 0xFFFFFFFF) % len(self._ordinary_ids)]
        before = np.take_along_axis(token_ids, positions, axis=1)
        after = np.where(share < 0.8, self.mask_id, np.where(share < 0.9, any_token, before))
        np.put_along_axis(token_ids, positions, np.where(counts, after, before), axis=1)
