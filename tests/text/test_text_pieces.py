"""Long texts in pieces: the same tokens, and memory that does not grow with the text."""

import random
import tracemalloc

import numpy as np
import pytest

from kerasllm.data import LanguageModelEncoder
from kerasllm.text import BPETokenizer, CharVocabularyTokenizer
from kerasllm.text.text_pieces import text_pieces

tokenizers = pytest.importorskip("tokenizers")

# What stands at the borders of words of byte-level BPE and of characters as a reader counts them.
PARTS = ["a", "word", "it's", "'s", "明月", "12", "!", "。", "...", " ", "  ", "\t", "\u3000", "_"]
PARTS += [
    "\n",
    "\n",
    "\n",
    "\n\n",
    " \n",
    "\n ",
    "e\u0301",
    "\u0301",
    "\u200d",
    "🏽",
    "👩\u200d🔬",
    "🇨🇳",
]
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def random_texts(count, length=60):
    generator = random.Random(0)
    return ["".join(generator.choices(PARTS, k=length)) for _ in range(count)]


def bpe(pre_tokenizer):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|endoftext|>"], initial_alphabet=sorted(alphabet)
    )
    tokenizer.train_from_iterator(random_texts(100), trainer)
    return BPETokenizer(tokenizer, 0)


def make_tokenizer(kind):
    pre = tokenizers.pre_tokenizers
    if kind == "characters":
        return CharVocabularyTokenizer.fit(random_texts(100))
    if kind == "gpt2":
        return BPETokenizer.fit(random_texts(100), 500)
    if kind == "qwen":
        split = pre.Split(tokenizers.Regex(QWEN), "isolated")
        return bpe(pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=False)]))
    return bpe(pre.ByteLevel(add_prefix_space=True))


@pytest.mark.parametrize("kind", ["characters", "gpt2", "qwen", "prefix"])
def test_pieces_have_the_tokens_of_the_whole(kind):
    tokenizer, pieces = make_tokenizer(kind), 0
    encode = None if kind == "characters" else tokenizer.encode
    for text in random_texts(300):
        parts = list(text_pieces(text, encode, characters=5))
        assert "".join(parts) == text
        found = [token for ids in tokenizer.encode(parts) for token in ids]
        assert found == list(tokenizer.encode([text])[0])
        pieces += len(parts)
    # One that puts a space before each text is not cut at all.
    assert pieces == 300 if kind == "prefix" else pieces > 600


def test_byte_level_words_end_where_pieces_do():
    """Without asking the tokenizer, as in the fitting of one."""
    tokenizer = make_tokenizer("gpt2")
    for text in random_texts(300):
        parts = list(text_pieces(text, characters=5))
        found = [token for ids in tokenizer.encode(parts) for token in ids]
        assert found == list(tokenizer.encode([text])[0])


def test_book_is_tokenised_in_little_memory():
    """A file with blank lines is one document; each of its characters once took 89 bytes."""
    line = "春江潮水连海平，海上明月共潮生。"
    paragraph = f"{line}{line}{line}\n\n"
    book = paragraph * 20_000
    tracemalloc.start()
    tokenizer = CharVocabularyTokenizer.fit([book])
    arrays, lengths = LanguageModelEncoder(tokenizer)(["短", book, "短"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * len(book)
    assert lengths == [2, len(book) + 1, 2]
    expected = np.tile(np.array(tokenizer.encode([paragraph])[0], np.uint16), 20_000)
    np.testing.assert_array_equal(arrays["token_ids"][3:-2], expected)
