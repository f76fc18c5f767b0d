"""BERT's tokenisation against Hugging Face `tokenizers` and, where it is, tensorflow-text.

Chinese texts are the package's reviews, two to a text. English ones are drawn from the words of its
own documentation, every fifth of them changed so that it falls to pieces. `tokenizers` gives its
encodings, ours the arrays that a model takes; tensorflow-text gives ragged ids of the whole texts.
"""

import contextlib
import csv
import os
import pathlib
import random
import re

import numpy as np
import tensorflow as tf
from kerasllm_ops.wordpiece import WordpieceVocabulary, wordpiece_encode

import kerasllm
from benchmarks import measure
from kerasllm import datasets
from kerasllm.text import WordPieceTokenizer, train_wordpiece_vocabulary

NUM_TEXTS, MAX_LENGTH, VOCABULARY = 10_000, 128, 8_000
PEER, PEER_ONE = "tokenizers", "tokenizers, 1 thread"


def chinese_texts():
    with open(datasets.reviews()["train"], encoding="utf-8", newline="") as file:
        reviews = [row["text"] for row in csv.DictReader(file)]
    source = random.Random(0)
    return ["".join(source.choices(reviews, k=2)) for _ in range(NUM_TEXTS)]


def english_texts():
    files = sorted(pathlib.Path(kerasllm.__file__).parent.rglob("*.py"))
    prose = " ".join(file.read_text(encoding="utf-8") for file in files)
    words = re.findall("[A-Za-z]{2,}[,.]?", prose)
    source = random.Random(0)

    def word():
        found = source.choice(words)
        return found if source.random() < 0.8 else found[::-1]

    return [" ".join(word() for _ in range(source.randrange(10, 60))) for _ in range(NUM_TEXTS)]


@contextlib.contextmanager
def parallelism(wish):
    """`tokenizers` reads this variable at every call."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = wish
    try:
        yield
    finally:
        del os.environ["TOKENIZERS_PARALLELISM"]
        if before is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def make_tokenizers(tokens):
    """`tokenizers` as BERT's, with truncation and padding."""
    import tokenizers

    ids = {token: token_id for token_id, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = tokenizers.processors.BertProcessing(
        ("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"])
    )
    tokenizer.enable_truncation(MAX_LENGTH)
    tokenizer.enable_padding(pad_id=ids["[PAD]"])
    return tokenizer


def with_parallelism(wish, function):
    def call():
        with parallelism(wish):
            function()

    return call


def tensorflow_text_functions(tokens, texts):
    """Its two BERT tokenizers, or none where it is not installed."""
    try:
        import tensorflow_text
    except ImportError:
        print("tensorflow-text is not installed: left out")
        return {}
    fast = tensorflow_text.FastBertTokenizer(
        tokens, token_out_type=tf.int32, lower_case_nfd_strip_accents=True
    )
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(tokens, tf.range(len(tokens), dtype=tf.int64)), 1
    )
    plain = tensorflow_text.BertTokenizer(table, lower_case=True)
    return {
        "tf-text fast": tf.function(lambda: fast.tokenize(texts)),
        "tf-text": tf.function(lambda: plain.tokenize(texts)),
    }


def measure_texts(name, texts, repeats):
    tokens = train_wordpiece_vocabulary(texts, VOCABULARY)
    ours, peer = WordPieceTokenizer(tokens), make_tokenizers(tokens)
    vocabulary = WordpieceVocabulary(tokens, ours.options)
    strings = tf.constant(texts)

    def encode():
        return wordpiece_encode(vocabulary, strings, max_length=MAX_LENGTH)

    functions = {
        PEER: with_parallelism("true", lambda: peer.encode_batch_fast(texts)),
        PEER_ONE: with_parallelism("false", lambda: peer.encode_batch_fast(texts)),
        "ours": lambda: ours.encode(texts, max_length=MAX_LENGTH),
        "ours, 1 thread": lambda: ours.engine.encode(texts, None, MAX_LENGTH, num_threads=1),
        "ours, op": encode,
        "ours, op, 1 core": measure.on_cores(1, encode),
        "ours, offsets": lambda: ours.tokenize(texts),
        **tensorflow_text_functions(tokens, strings),
    }
    with parallelism("true"):
        expected = np.array([encoding.ids for encoding in peer.encode_batch_fast(texts)])
    np.testing.assert_array_equal(functions["ours"]()["token_ids"], expected)
    np.testing.assert_array_equal(functions["ours, op"]()[0], expected)
    times = measure.interleave(functions, repeats)
    size = sum(len(text.encode()) for text in texts) / 1e6
    dtypes = {who: f"{size / np.median(ms) * 1e3:.1f} MB/s" for who, ms in times.items()}
    shape = f"{len(texts)} texts, {size:.1f} MB"
    return measure.rows(name, shape, times, dtypes, PEER)


def run(quick=False):
    rows = []
    for name, texts in (("Chinese", chinese_texts()), ("English", english_texts())):
        rows += measure_texts(name, texts, repeats=3 if quick else 15)
    return rows
