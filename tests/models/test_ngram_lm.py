"""NgramLM against the formula, written once more over dicts and one n-gram at a time."""

import collections
import itertools

import numpy as np
import pytest

from kerasllm.models import NgramLM

VOCABULARY, END = 9, 0


def documents(count=60, seed=0):
    """Texts in which tokens follow some tokens more often than others."""
    random = np.random.default_rng(seed)
    steps = random.dirichlet(np.full(VOCABULARY - 2, 0.3), VOCABULARY)
    texts = []
    for _ in range(count):
        text = [int(random.integers(1, VOCABULARY - 1))]
        for _ in range(random.integers(0, 12)):
            text.append(1 + int(random.choice(VOCABULARY - 2, p=steps[text[-1]])))
        texts.append(text)
    return texts


class Reference:
    """Chen and Goodman's equations, with the counts of each history made anew at each call."""

    def __init__(self, texts, order):
        self.order, grams = order, collections.Counter()
        for text in texts:
            text = [END, *text, END]
            for n in range(1, order + 1):
                for i in range(len(text) - n + 1):
                    grams[tuple(text[i : i + n])] += 1
        self.counts = {n: {} for n in range(1, order + 1)}
        before = collections.defaultdict(set)
        for gram in grams:
            if len(gram) > 1:
                before[gram[1:]].add(gram[0])
        for gram, count in grams.items():
            n = len(gram)
            raw = n == order or (n > 1 and gram[0] == END)
            self.counts[n][gram] = count if raw else len(before[gram])
        self.discounts = {}
        for n, counts in self.counts.items():
            sizes = collections.Counter(counts.values())
            if not all(sizes[i] for i in (1, 2, 3, 4)):
                self.discounts[n] = [0, 0.5, 1, 1.5]
                continue
            share = sizes[1] / (sizes[1] + 2 * sizes[2])
            exact = [i - (i + 1) * share * sizes[i + 1] / sizes[i] for i in (1, 2, 3)]
            self.discounts[n] = [0] + [min(max(d, 0), i) for i, d in enumerate(exact, 1)]

    def probability(self, token, history):
        history = tuple(history)[-(self.order - 1) :] if self.order > 1 else ()
        lower = 1 / VOCABULARY if not history else self.probability_of(token, history[1:])
        return self.one_level(token, history, lower)

    def probability_of(self, token, history):
        lower = 1 / VOCABULARY if not history else self.probability_of(token, history[1:])
        return self.one_level(token, history, lower)

    def one_level(self, token, history, lower):
        n = len(history) + 1
        counts = self.counts[n]
        after = [count for gram, count in counts.items() if gram[:-1] == history]
        if not sum(after):
            return lower
        discount = self.discounts[n]
        taken = sum(discount[min(count, 3)] for count in after)
        count = counts.get((*history, token), 0)
        return (max(count - discount[min(count, 3)], 0) + taken * lower) / sum(after)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_losses_are_the_formulas(order):
    texts = documents()
    model, reference = NgramLM.fit(texts, VOCABULARY, order, END), Reference(texts, order)
    rows = documents(8, seed=5)
    width = max(len(row) for row in rows) + 1
    tokens, labels = np.zeros((8, width), int), np.full((8, width), -1)
    for row, text in enumerate(rows):
        tokens[row, : len(text) + 1] = [END, *text]
        labels[row, : len(text) + 1] = [*text, END]
    losses = model.token_losses({"token_ids": tokens, "labels": labels})
    assert losses.shape == tokens.shape and (losses[labels == -1] == 0).all()
    for row, i in zip(*np.nonzero(labels >= 0), strict=True):
        expected = -np.log(reference.probability(labels[row, i], tokens[row, : i + 1]))
        assert losses[row, i] == pytest.approx(expected, rel=1e-6)
    mean = losses.sum() / (labels >= 0).sum()
    assert model.perplexity({"token_ids": tokens, "labels": labels}) == pytest.approx(np.exp(mean))


def test_probabilities_sum_to_1_after_any_history():
    model = NgramLM.fit(documents(), VOCABULARY, 4, END)
    random = np.random.default_rng(1)
    for length in [0, 1, 2, 3, 7] * 5:
        history = random.integers(0, VOCABULARY, length)
        probabilities = model.next_token_probabilities(history)
        assert probabilities.sum() == pytest.approx(1, abs=1e-12)
        assert (probabilities > 0).all()
        if length:
            tokens = np.tile(history, (VOCABULARY, 1))
            labels = np.full_like(tokens, -1)
            labels[:, -1] = np.arange(VOCABULARY)
            losses = model.token_losses({"token_ids": tokens, "labels": labels})[:, -1]
            np.testing.assert_allclose(losses, -np.log(probabilities), rtol=1e-6)


def test_packed_documents_are_as_if_alone():
    model = NgramLM.fit(documents(), VOCABULARY, 3, END)
    tokens = np.array([[END, 1, 2, 3, END, 4, 5]])
    segments = np.array([[7, 7, 7, 7, 8, 8, 8]])
    packed = model.token_losses({"token_ids": tokens, "segment_ids": segments})
    first = model.token_losses({"token_ids": tokens[:, :4]})
    second = model.token_losses({"token_ids": tokens[:, 4:]})
    np.testing.assert_array_equal(packed, np.concatenate([first, second], 1))


def test_samples_look_like_the_corpus():
    texts = documents(400)
    model = NgramLM.fit(texts, VOCABULARY, 3, END)
    assert model.sample([END], 20, seed=1) == model.sample([END], 20, seed=1)
    pairs = {pair for text in texts for pair in itertools.pairwise(text)}
    samples = [model.sample([END], 30, seed=seed)[:-1] for seed in range(50)]
    known = [pair in pairs for sample in samples for pair in itertools.pairwise(sample)]
    assert np.mean(known) > 0.9


def test_save_and_load(tmp_path):
    model = NgramLM.fit(documents(), VOCABULARY, 3, END)
    model.save(tmp_path / "ngram.npz")
    loaded = NgramLM.load(tmp_path / "ngram.npz")
    np.testing.assert_array_equal(
        loaded.next_token_probabilities([1, 2]), model.next_token_probabilities([1, 2])
    )
    (tmp_path / "ngram.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read as an n-gram model"):
        NgramLM.load(tmp_path / "ngram.npz")
    with pytest.raises(FileNotFoundError, match="missing"):
        NgramLM.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"documents": []}, "no documents"),
        ({"order": 1}, "order is 1"),
        ({"documents": [[1, 9]]}, "There is a token 9; expected 0 to 8"),
        ({"end_id": 9}, "end_id is 9"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    arguments = {"documents": [[1, 2]], "vocabulary_size": VOCABULARY, **arguments}
    with pytest.raises(ValueError, match=message):
        NgramLM.fit(**arguments)


def test_order_far_above_the_longest_ngram_gives_the_losses_of_a_lower_one():
    inputs = {"token_ids": np.array([[END, 1, 2]]), "labels": np.array([[1, 2, END]])}
    low, high = (NgramLM.fit([[1]], VOCABULARY, order, END) for order in (3, 6))
    np.testing.assert_array_equal(high.token_losses(inputs), low.token_losses(inputs))
    np.testing.assert_array_equal(
        high.next_token_probabilities([END, 1, 2, 3, 4]), low.next_token_probabilities([3, 4])
    )


def test_a_tiny_corpus_is_enough():
    model = NgramLM.fit([[1]], VOCABULARY, 3, END)
    assert model.next_token_probabilities([END]).sum() == pytest.approx(1)
    assert model.next_token_probabilities([END]).argmax() == 1
