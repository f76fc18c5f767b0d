"""The WordPiece ops in the graph, against the engine that tests/text holds against tokenizers."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from kerasllm_ops.loader import load
from wordpiece_texts import SPECIAL, hard_vocabulary, random_texts

from kerasllm.text import WordPieceTokenizer

if load().ops is None:
    pytest.skip("no native library", allow_module_level=True)

from kerasllm_ops.wordpiece import WordpieceVocabulary, wordpiece_encode, wordpiece_tokenize

TOKENS = hard_vocabulary()
TEXTS = random_texts(700, TOKENS, seed=1)


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(TOKENS)


@pytest.fixture(scope="module")
def vocabulary(tokenizer):
    return WordpieceVocabulary(tokenizer.tokens, tokenizer.options)


def check(found, expected):
    for tensor, array in zip(found, expected.values(), strict=True):
        assert tensor.dtype == array.dtype
        np.testing.assert_array_equal(tensor, array)


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("with_pairs", [False, True])
@pytest.mark.parametrize("max_length", [None, 3, 17])
def test_encode_gives_what_the_tokenizer_gives(
    tokenizer, vocabulary, in_graph, with_pairs, max_length
):
    pairs = TEXTS[::-1] if with_pairs else None
    call = tf.function(wordpiece_encode) if in_graph else wordpiece_encode
    found = call(
        vocabulary,
        tf.constant(TEXTS),
        None if pairs is None else tf.constant(pairs),
        max_length=max_length,
    )
    check(found, tokenizer.encode(TEXTS, pairs, max_length))


def test_tokenize_gives_ragged_tokens_with_offsets(tokenizer, vocabulary):
    for unit in ("bytes", "code_points"):
        expected = tokenizer.tokenize(TEXTS, unit)
        ids, starts, ends = wordpiece_tokenize(vocabulary, tf.constant(TEXTS), unit)
        np.testing.assert_array_equal(ids.row_splits, expected["row_splits"])
        for ragged, name in ((ids, "token_ids"), (starts, "starts"), (ends, "ends")):
            np.testing.assert_array_equal(ragged.values, expected[name])


def test_bytes_that_are_no_utf8_leave_no_token(vocabulary):
    texts = tf.constant([b"\xff", b"a\xe4\xb8b", b"\xed\xa0\x80", b"\xf0\x9f\x98"])
    ids, starts, ends = wordpiece_tokenize(vocabulary, texts)
    assert ids.row_lengths().numpy().tolist() == [0, ids.values.shape[0], 0, 0]
    assert (starts.values[0], ends.values[-1]) == (0, 4)


def test_random_bytes_do_no_harm(vocabulary):
    source = np.random.default_rng(0)
    texts = tf.constant([source.bytes(int(n)) for n in source.integers(0, 300, 500)])
    ids, starts, ends = wordpiece_tokenize(vocabulary, texts)
    assert np.all((ids.values >= 0) & (ids.values < len(TOKENS)))
    assert np.all(starts.values < ends.values)


def test_an_empty_batch(vocabulary):
    texts = tf.zeros((0,), tf.string)
    assert [t.shape.as_list() for t in wordpiece_encode(vocabulary, texts)] == [[0, 0]] * 3
    assert wordpiece_tokenize(vocabulary, texts)[0].shape == [0, None]


def test_shapes_are_known_while_tracing(vocabulary):
    @tf.function(input_signature=[tf.TensorSpec((7,), tf.string)])
    def encode(texts):
        padded = wordpiece_encode(vocabulary, texts, max_length=9, pad_to_max_length=True)
        assert padded[0].shape == (7, 9)
        assert wordpiece_encode(vocabulary, texts)[2].shape.as_list() == [7, None]
        return padded[0]

    assert encode(tf.constant(["a"] * 7)).shape == (7, 9)


def test_it_runs_in_a_data_pipeline(tokenizer, vocabulary):
    data = tf.data.Dataset.from_tensor_slices(TEXTS).batch(100)
    rows = list(data.map(lambda texts: wordpiece_encode(vocabulary, texts, max_length=20)))
    for start, found in zip(range(0, 700, 100), rows, strict=True):
        check(found, tokenizer.encode(TEXTS[start : start + 100], max_length=20))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": "a"}, "rank 1|expected \\(batch,\\)"),
        ({"texts": [["a"]]}, "rank 1|expected \\(batch,\\)"),
        ({"pairs": ["a", "b"]}, "equal|expected \\[1\\]"),
        ({"max_length": 1}, "max_length is 1, expected at least 2"),
        ({"max_length": 2, "pairs": ["a"]}, "max_length is 2, expected at least 3"),
        ({"pad_to_max_length": True}, "needs a max_length"),
        ({"truncation": "only_second"}, "no second texts"),
        (
            {"truncation": "only_second", "pairs": ["a"], "max_length": 4, "texts": ["a a a a"]},
            "of only the second text cannot bring row 0",
        ),
    ],
)
def test_wrong_arguments_are_refused(vocabulary, arguments, message):
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        wordpiece_encode(vocabulary, **{"texts": ["a"], **arguments})


def test_a_vocabulary_without_a_special_token_is_refused(tokenizer):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"lacks the special token '\[MASK\]'"):
        WordpieceVocabulary(SPECIAL[:4], tokenizer.options)


def test_an_empty_vocabulary_is_refused():
    ops = load().ops
    handle = ops.kerasllm_wordpiece_vocabulary(shared_name="empty")
    with pytest.raises(tf.errors.FailedPreconditionError, match="vocabulary is empty"):
        ops.kerasllm_wordpiece_encode(
            vocabulary=handle, texts=["a"], pairs=tf.zeros((0,), tf.string)
        )


SERVE = """
import json, sys
import tensorflow as tf
tf.load_op_library(sys.argv[1])
model = tf.saved_model.load(sys.argv[2])
outputs = model.encode(tf.constant(["我爱é", "[MASK]"]))
print(json.dumps([tensor.numpy().tolist() for tensor in outputs]))
"""


def test_a_saved_model_needs_only_the_op_library(tmp_path, tokenizer, vocabulary):
    module = tf.Module()
    module.vocabulary = vocabulary
    signature = [tf.TensorSpec((None,), tf.string)]
    module.encode = tf.function(
        lambda t: wordpiece_encode(vocabulary, t), input_signature=signature
    )
    tf.saved_model.save(module, str(tmp_path / "before"))
    # Moved, so that the asset is looked for where it now is.
    (tmp_path / "before").rename(tmp_path / "model")
    content = (tmp_path / "model" / "assets" / "vocab.txt").read_text(encoding="utf-8")
    assert content.splitlines() == TOKENS
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(load().path), str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    expected = tokenizer.encode(["我爱é", "[MASK]"])
    assert json.loads(done.stdout) == [array.tolist() for array in expected.values()]
