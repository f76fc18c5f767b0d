"""The jieba ops: in graphs and saved models, on several threads, with wrong input."""

import json

import pytest
import tensorflow as tf
from jieba_checks import WAYS, random_texts
from kerasllm_ops import jieba_engine, loader
from processes import run_python

from kerasllm import native

pytestmark = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")

if native.in_use():
    from kerasllm_ops.jieba import JiebaDictionary, jieba_cut

WORDS = ["我", "来到", "北京", "清华大学", "中国", "人民", "网易", "大厦"]
TEXT = "我来到北京清华大学"


@pytest.fixture(scope="module")
def dictionary():
    return JiebaDictionary()


def decoded(ragged):
    return [[word.decode("utf-8") for word in words] for words in ragged.to_list()]


@pytest.mark.parametrize("longest_run", [0, 5])
@pytest.mark.parametrize(("mode", "hmm"), WAYS)
def test_the_op_does_what_the_engine_does(dictionary, mode, hmm, longest_run):
    texts = list(random_texts(2_000, WORDS, 3))
    for keep_blanks in (True, False):
        options = {"mode": mode, "hmm": hmm, "keep_blanks": keep_blanks, "longest_run": longest_run}
        words, starts, ends = jieba_cut(tf.constant(texts), dictionary, **options)
        assert decoded(words) == jieba_engine.shared_engine().cut(texts, **options)
        places = zip(texts, words.to_list(), starts.to_list(), ends.to_list(), strict=True)
        for text, *tokens in places:
            for word, start, end in zip(*tokens, strict=True):
                assert text.encode()[start:end] == word


def test_a_token_of_several_pieces_has_the_offsets_of_first_and_last(dictionary):
    own = JiebaDictionary([("A", 3), ("AB", 5)])
    words, starts, ends = jieba_cut("xABy", own, mode="all")
    assert words.numpy().tolist() == [b"AB", b"xy"]
    assert starts.numpy().tolist() == [1, 0] and ends.numpy().tolist() == [3, 4]


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        b"a\x80b",
        b"\xe4\xb8",
        "好".encode()[:2] + "好".encode(),
        b"\xed\xa0\x80\xf5",
        b"\0",
    ],
)
def test_bytes_that_are_no_utf8_are_characters_of_their_own(dictionary, text):
    words, starts, ends = jieba_cut(text, dictionary, keep_blanks=True)
    assert b"".join(words.numpy().tolist()) == text
    assert [text[a:b] for a, b in zip(starts, ends, strict=True)] == words.numpy().tolist()
    [expected] = jieba_engine.shared_engine().cut([text.decode("utf-8", "replace")], "cut")
    assert [word.decode("utf-8", "replace") for word in words.numpy()] == expected


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3), (2, 0), (0, 3), (2, 1, 2)])
def test_words_come_in_the_shape_of_the_texts(dictionary, shape):
    texts = tf.fill(shape, TEXT)
    for cut in (jieba_cut, tf.function(jieba_cut)):
        words, _, ends = cut(texts, dictionary)
        assert words.shape.as_list() == [*shape, None] == ends.shape.as_list()
        assert words.flat_values.shape[0] == 4 * int(tf.size(texts))


def test_a_scalar_gives_a_vector_and_a_ragged_tensor_a_ragged_tensor(dictionary):
    words, _, _ = jieba_cut(TEXT, dictionary)
    assert [word.decode() for word in words.numpy()] == ["我", "来到", "北京", "清华大学"]
    texts = tf.ragged.constant([[TEXT, "好的"], [], ["网易"]])
    words, starts, _ = jieba_cut(texts, dictionary)
    assert [len(row) for row in words.to_list()] == [2, 0, 1]
    assert starts.to_list()[0] == [[0, 3, 9, 15], [0, 3]]


def test_unknown_rank_is_refused(dictionary):
    @tf.function(input_signature=[tf.TensorSpec(None, tf.string)])
    def cut(texts):
        return jieba_cut(texts, dictionary)[0]

    with pytest.raises(ValueError, match="known rank"):
        cut(TEXT)


def test_unknown_sizes_of_known_rank_work_in_a_graph(dictionary):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string)])
    def cut(texts):
        return jieba_cut(texts, dictionary)[0]

    assert [[len(words) for words in row] for row in cut([[TEXT, ""]] * 2).to_list()] == [
        [4, 0]
    ] * 2
    assert cut(tf.zeros([0, 5], tf.string)).to_list() == []


def test_it_works_in_tf_data(dictionary):
    texts = tf.data.Dataset.from_tensor_slices([TEXT, "好的"] * 20).batch(8)
    words = texts.map(lambda batch: jieba_cut(batch, dictionary)[0], num_parallel_calls=4)
    assert sum(int(tf.size(batch.flat_values)) for batch in words) == 20 * (4 + 2)


class Segmentation(tf.Module):
    def __init__(self, words):
        self.dictionary = JiebaDictionary(words)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def cut(self, texts):
        return jieba_cut(texts, self.dictionary)[0]


def test_two_saved_models_are_loaded_side_by_side_after_theirs_are_gone(tmp_path):
    for name, words in {"plain": [], "own": [("来到北京", None)]}.items():
        module = Segmentation(words)
        tf.saved_model.save(module, str(tmp_path / name))
        del module
    loaded = {name: tf.saved_model.load(str(tmp_path / name)) for name in ("plain", "own")}
    assert decoded(loaded["plain"].cut([TEXT])) == [["我", "来到", "北京", "清华大学"]]
    assert decoded(loaded["own"].cut([TEXT])) == [["我", "来到北京", "清华大学"]]
    again = tf.saved_model.load(str(tmp_path / "own"))
    del loaded
    assert decoded(again.cut([TEXT])) == [["我", "来到北京", "清华大学"]]


def test_a_saved_model_needs_only_the_op_library(tmp_path):
    tf.saved_model.save(Segmentation([]), str(tmp_path))
    code = (
        "import json, sys, tensorflow as tf\n"
        f"tf.load_op_library({str(loader.find_file(loader.LIBRARY))!r})\n"
        f"loaded = tf.saved_model.load({str(tmp_path)!r})\n"
        f"words = loaded.cut([{TEXT!r}]).to_list()\n"
        "print(json.dumps([word.decode() for word in words[0]]))\n"
        "print([name for name in ('jieba', 'kerasllm_ops') if name in sys.modules])\n"
    )
    done = run_python("-c", code, TF_CPP_MIN_LOG_LEVEL="3")
    words, modules = done.stdout.strip().splitlines()[-2:]
    assert json.loads(words) == ["我", "来到", "北京", "清华大学"] and modules == "[]"


def initialize(path):
    ops = loader.required_ops("jieba")
    handle = ops.kerasllm_jieba_dictionary(shared_name=str(path))
    ops.kerasllm_jieba_dictionary_initialize(handle, str(path))
    return handle


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", "no dictionary of kerasllm"),
        (lambda content: b"x" + content[1:], "no dictionary of kerasllm"),
        (lambda content: content[:8] + b"\x09" + content[9:], "is of version 9, expected 1"),
        (lambda content: content[:-1], "its checksum is another"),
        (lambda content: content[:999] + b"~" + content[1000:], "its checksum is another"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path, change, message):
    path = tmp_path / "damaged"
    path.write_bytes(change(jieba_engine.shared_engine().serialize()))
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"damaged cannot be used.*{message}"):
        initialize(path)


def test_a_missing_file_and_an_uninitialized_dictionary_are_errors(tmp_path):
    with pytest.raises(tf.errors.NotFoundError, match="nowhere"):
        initialize(tmp_path / "nowhere")
    ops = loader.required_ops("jieba")
    handle = ops.kerasllm_jieba_dictionary(shared_name="never read")
    with pytest.raises(tf.errors.NotFoundError, match="never read"):
        ops.kerasllm_jieba_cut(handle, [TEXT])


def test_another_resource_is_refused():
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2]), 0)
    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.NotFoundError)):
        loader.required_ops("jieba").kerasllm_jieba_cut(table.resource_handle, [TEXT])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": TEXT}, "rank 1|expected \\(n,\\)"),
        ({"texts": [[TEXT]]}, "rank 1|expected \\(n,\\)"),
        ({"mode": "full"}, "mode"),
        ({"longest_run": -1}, "longest_run"),
    ],
)
def test_wrong_arguments_are_refused(dictionary, changes, message):
    arguments = {"dictionary": dictionary.resource_handle, "texts": [TEXT], **changes}
    op = loader.required_ops("jieba").kerasllm_jieba_cut
    for call in (op, tf.function(op)):
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
            call(**arguments)


def test_threads_do_not_change_a_token(dictionary):
    texts = list(random_texts(3_000, WORDS, 4))
    together = decoded(jieba_cut(texts, dictionary)[0])
    alone = [decoded(jieba_cut([text], dictionary)[0])[0] for text in texts[:300]]
    assert together[:300] == alone
