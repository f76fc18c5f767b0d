"""The n-gram language model: the floor that neural ones are measured against."""

import pathlib

import numpy as np

from kerasllm.files import atomic_write
from kerasllm.models.language_model import IGNORED


class NgramLM:
    """Interpolated modified Kneser-Ney smoothing (Chen and Goodman, An Empirical Study of Smoothing
    Techniques for Language Modeling, 1998), in NumPy.

    The probability of a token after a history `h` is

        p(w | h) = max(a(h w) - D(a(h w)), 0) / a(h) + g(h) * p(w | h without its first token)

    where `a` counts occurrences for the longest n-grams and for those that begin a document, and
    else the different tokens before one; `D` are three discounts for each length, for counts of 1,
    2 and more; and `g(h)` is what the discounts took away. Single tokens are interpolated with the
    uniform distribution, so that every token has a probability.

    It is no Keras model, but is measured as one: `token_losses` takes the inputs of
    `LanguageModel`.

    Examples:

    >>> model = kerasllm.models.NgramLM.fit(tokenizer.encode(texts), len(tokenizer), order=3)
    >>> model.perplexity({"token_ids": ids[:, :-1], "labels": ids[:, 1:]})

    Args:
        vocabulary_size: Number of token ids.
        order: Length of the longest n-grams.
        end_id: The id of the token between documents.
        tables: What `fit` counts, from single tokens to the longest n-grams; `fit` and `load` call
            the constructor.
    """

    def __init__(self, vocabulary_size, order, end_id, tables):
        self.vocabulary_size, self.order, self.end_id = vocabulary_size, order, end_id
        # For each length n from 1: keys, in order (the number of the n-gram of the first n - 1
        # tokens, times the size of the vocabulary, plus the last token), and adjusted counts.
        self._keys = [table["keys"] for table in tables]
        self._counts = [table["counts"] for table in tables]
        self._discounts = [_discounts(counts) for counts in self._counts]
        self._totals, self._backoffs = [], []
        for n, (keys, counts) in enumerate(zip(self._keys, self._counts, strict=True)):
            histories = keys // vocabulary_size
            # One, of which nothing is known, where no document is as long.
            size = max(1, len(self._keys[n - 1])) if n else 1
            taken = self._discounts[n][np.minimum(counts, 3)]
            self._totals.append(np.bincount(histories, counts, size))
            self._backoffs.append(np.bincount(histories, taken, size))

    @classmethod
    def fit(cls, documents, vocabulary_size, order=3, end_id=0):
        """Counts the n-grams of documents.

        Args:
            documents: An iterable of documents, each a sequence of token ids without the end token,
                which is counted before its first and after its last token.
            vocabulary_size: Number of token ids.
            order: Length of the longest n-grams, 2 or more. 3 by default.
            end_id: The id of the token between documents. 0 by default.

        Raises:
            ValueError: If there are no documents, or an id or `order` is out of range.
        """
        if order < 2:
            raise ValueError(f"order is {order}; expected 2 or more.")
        if not 0 <= end_id < vocabulary_size:
            raise ValueError(f"end_id is {end_id}; expected 0 to {vocabulary_size - 1}.")
        parts = [np.concatenate([[end_id], ids, [end_id]]).astype(np.int64) for ids in documents]
        if not parts:
            raise ValueError("There are no documents to count.")
        tokens = np.concatenate(parts)
        if tokens.min() < 0 or tokens.max() >= vocabulary_size:
            wrong = tokens[(tokens < 0) | (tokens >= vocabulary_size)][0]
            raise ValueError(f"There is a token {wrong}; expected 0 to {vocabulary_size - 1}.")
        lengths = np.array([len(part) for part in parts])
        place = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)

        keys = [np.arange(vocabulary_size)]
        ids = [tokens]  # of the n-gram that ends at each token, for each n; -1 where there is none
        raw, suffixes, begins = [None], [None], [np.arange(vocabulary_size) == -1]
        for n in range(2, order + 1):
            ends = np.flatnonzero(place >= n - 1)
            found = ids[-1][ends - 1] * vocabulary_size + tokens[ends]
            unique, first, inverse, counts = np.unique(
                found, return_index=True, return_inverse=True, return_counts=True
            )
            numbers = np.full(len(tokens), -1)
            numbers[ends] = inverse
            keys.append(unique)
            raw.append(counts)
            suffixes.append(ids[-1][ends[first]])
            begins.append(place[ends[first]] == n - 1)
            begins[-1] &= tokens[ends[first] - (n - 1)] == end_id
            ids.append(numbers)
        tables = []
        for n in range(1, order + 1):
            if n == order:
                counts = raw[n - 1]
            else:
                # How many different tokens come before it.
                counts = np.bincount(suffixes[n], minlength=len(keys[n - 1]))
                if n > 1:
                    counts = np.where(begins[n - 1], raw[n - 1], counts)
            tables.append({"keys": keys[n - 1], "counts": counts})
        return cls(vocabulary_size, order, end_id, tables)

    def token_losses(self, inputs):
        """The loss of each label, in nats.

        Args:
            inputs: A dict of `"token_ids"`, ints `(batch, time)`, and, if there are any,
                `"segment_ids"` and `"labels"`; see `LanguageModel`. A history does not go beyond
                its row and its document.

        Returns:
            float32 `(batch, time)`, 0 where there is no label.
        """
        tokens = np.asarray(inputs["token_ids"]).astype(np.int64)
        segments = inputs.get("segment_ids")
        segments = np.zeros_like(tokens) if segments is None else np.asarray(segments)
        labels = inputs.get("labels")
        if labels is None:
            labels = np.full_like(tokens, IGNORED)
            same = segments[:, 1:] == segments[:, :-1]
            labels[:, :-1] = np.where(same, tokens[:, 1:], IGNORED)
        labels = np.asarray(labels).astype(np.int64)
        probabilities = self._unigrams()[np.maximum(labels, 0)]
        histories = tokens
        for n in range(2, self.order + 1):
            probabilities = self._interpolate(n, histories, np.maximum(labels, 0), probabilities)
            # The n-gram that ends at each token goes on from the one that ends before it.
            before = np.full_like(histories, -1)
            before[:, 1:] = np.where(segments[:, 1:] == segments[:, :-1], histories[:, :-1], -1)
            histories = self._find(n, before, tokens)[0]
        losses = -np.log(probabilities)
        return np.where(labels == IGNORED, 0.0, losses).astype(np.float32)

    def perplexity(self, inputs):
        """The exponential of the mean loss; the arguments are those of `token_losses`."""
        losses = self.token_losses(inputs)
        return float(np.exp(losses.sum(dtype="float64") / max(1, np.count_nonzero(losses))))

    def next_token_probabilities(self, history):
        """The probabilities of all tokens after a history.

        Args:
            history: A sequence of token ids of one document.

        Returns:
            float64 `(vocabulary_size,)`.
        """
        history = np.asarray(history, np.int64)[-(self.order - 1) :]
        probabilities, words = self._unigrams(), np.arange(self.vocabulary_size)
        for n in range(2, len(history) + 2):
            number = history[len(history) - (n - 1)]
            for length, token in enumerate(history[len(history) - (n - 2) :], start=2):
                number = self._find(length, np.array([number]), np.array([token]))[0][0]
            numbers = np.full(self.vocabulary_size, number)
            probabilities = self._interpolate(n, numbers, words, probabilities)
        return probabilities

    def sample(self, prompt, max_tokens, seed=None):
        """Draws the tokens after a prompt.

        Args:
            prompt: Token ids; a document begins with the end token.
            max_tokens: Most new tokens; the end token ends a text before.
            seed: An integer, or None for one at random.

        Returns:
            A list of token ids, the end token among them.
        """
        random = np.random.Generator(np.random.Philox(seed))
        text = [int(token) for token in prompt] or [self.end_id]
        begin = len(text)
        while len(text) - begin < max_tokens:
            sums = np.cumsum(self.next_token_probabilities(text))
            token = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
            text.append(min(token, self.vocabulary_size - 1))
            if token == self.end_id:
                break
        return text[begin:]

    def save(self, path):
        """Writes the counts to a file, `.npz` by custom."""
        arrays = {"header": np.array([self.vocabulary_size, self.order, self.end_id])}
        for n, (keys, counts) in enumerate(zip(self._keys, self._counts, strict=True)):
            arrays |= {f"keys_{n}": keys, f"counts_{n}": counts}
        with atomic_write(path, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged.
        """
        if not pathlib.Path(path).is_file():
            raise FileNotFoundError(f"{path} is missing.")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                vocabulary_size, order, end_id = (int(number) for number in arrays["header"])
                tables = [
                    {"keys": arrays[f"keys_{n}"], "counts": arrays[f"counts_{n}"]}
                    for n in range(order)
                ]
        except Exception as error:  # zipfile and NumPy raise many kinds
            raise ValueError(f"{path} cannot be read as an n-gram model: {error}") from error
        return cls(vocabulary_size, order, end_id, tables)

    def _unigrams(self):
        counts, total = self._counts[0], self._totals[0][0]
        left = counts - self._discounts[0][np.minimum(counts, 3)]
        return left / total + self._backoffs[0][0] / total / self.vocabulary_size

    def _find(self, n, histories, tokens):
        """The numbers of n-grams, -1 where one is not known, and their counts."""
        keys = self._keys[n - 1]
        if not len(keys):
            return np.full_like(histories, -1), np.zeros_like(histories)
        wanted = histories * self.vocabulary_size + tokens
        places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        known = (histories >= 0) & (keys[places] == wanted)
        return np.where(known, places, -1), np.where(known, self._counts[n - 1][places], 0)

    def _interpolate(self, n, histories, tokens, lower):
        """The probabilities of tokens after histories of n - 1 tokens, by those after n - 2."""
        _, counts = self._find(n, histories, tokens)
        totals = np.where(histories >= 0, self._totals[n - 1][histories], 0.0)
        left = counts - self._discounts[n - 1][np.minimum(counts, 3)]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (left + self._backoffs[n - 1][histories] * lower) / totals
        return np.where(totals > 0, found, lower)


def _discounts(counts):
    """What is taken from counts of 0, 1, 2 and more (Chen and Goodman, equation 26); half of 1, 2
    and 3 where the corpus is too small to tell."""
    ones, twos, threes, fours = (np.count_nonzero(counts == n) for n in (1, 2, 3, 4))
    if not (ones and twos and threes and fours):
        return np.array([0.0, 0.5, 1.0, 1.5])
    share = ones / (ones + 2 * twos)
    pairs = (1, ones, twos), (2, twos, threes), (3, threes, fours)
    found = [(n, n - (n + 1) * share * more / these) for n, these, more in pairs]
    return np.array([0.0, *(min(max(discount, 0.0), n) for n, discount in found)])
