"""WordPieceTokenizer against `tokenizers`, by the native engine and by the one in Python."""

import functools
import os
import pickle
import unicodedata

import numpy as np
import pytest
from kerasllm_ops import wordpiece_engine
from wordpiece_texts import (
    SPECIAL,
    differences,
    hard_vocabulary,
    random_texts,
    real_texts,
    reference,
)

from kerasllm.text import TextPipeline, WordPieceTokenizer, train_wordpiece_vocabulary
from kerasllm.text.wordpiece_python import PythonWordpiece

NUM_RANDOM_TEXTS = int(os.environ.get("KERASLLM_WORDPIECE_TEXTS", "6000"))
OPTIONS = [
    {},
    {"lowercase": False},
    {"strip_accents": False},
    {"lowercase": False, "strip_accents": True},
    {"split_cjk": False},
    {"special_tokens_in_text": False, "max_characters_per_word": 5},
]
TOKENS = [*SPECIAL, "我", "爱", "ker", "##as", "!", "a", "##b", "b", "hello", "world", ","]
native = pytest.mark.skipif(wordpiece_engine.problem() is not None, reason="no native library")


def make(engine, tokens=TOKENS, **options):
    tokenizer = WordPieceTokenizer(tokens, **options)
    if engine == "python":
        tokenizer._engine = PythonWordpiece(tokens, tokenizer.options)
    return tokenizer


def make_reference(tokens, options):
    names = {"special_tokens_in_text": "special", "max_characters_per_word": "most"}
    return reference(tokens, **{names.get(name, name): value for name, value in options.items()})


@pytest.fixture(params=[pytest.param("native", marks=native), "python"])
def engine(request):
    return request.param


# Against `tokenizers`


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_random_texts_give_the_tokens_and_offsets_of_tokenizers(engine, options):
    tokens = hard_vocabulary()
    count = NUM_RANDOM_TEXTS // len(OPTIONS) // (10 if engine == "python" else 1)
    seed = OPTIONS.index(options)
    expected = make_reference(tokens, options)
    # In parts, so that a million need little memory.
    for begin in range(0, count, 50_000):
        texts = random_texts(min(50_000, count - begin), tokens, seed + begin)
        encodings = expected.encode_batch(texts, add_special_tokens=False)
        assert differences(make(engine, tokens, **options), texts, encodings) == []


@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_every_code_point_does_what_it_does_in_tokenizers(engine, options):
    codes, tokens = _code_points()
    if engine == "python":
        codes = [c for c in codes if c < "\u3100" or "\ua000" <= c < "\uac10"][::3]
    elif options:  # all of them once, and what options change with each
        codes = [c for c in codes if c < "\U00020000" and not _is_han(c)]
    texts = [f"a{c}b中{c}" for c in codes]
    encodings = make_reference(tokens, options).encode_batch(texts, add_special_tokens=False)
    assert differences(make(engine, tokens, **options), texts, encodings) == []


@functools.cache
def _code_points():
    """All characters, and a vocabulary."""
    codes = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    # Whatever letters become must be in the vocabulary, or all would be one unknown token.
    letters = [c for c in codes if unicodedata.category(c)[0] in "LMNPS" and not _is_han(c)]
    return codes, [*SPECIAL, *letters, *(f"##{c}" for c in letters)]


def _is_han(character):
    return "\u3400" <= character <= "\u9fff" or "\U00020000" <= character <= "\U0003ffff"


@pytest.fixture(scope="module")
def trained(shared_data):
    pytest.importorskip("tokenizers")
    texts = real_texts(shared_data)
    return texts, train_wordpiece_vocabulary(texts, 8000)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_real_texts_give_the_tokens_and_offsets_of_tokenizers(engine, options, trained):
    texts, tokens = trained
    texts = texts[::10] if engine == "python" else texts
    encodings = make_reference(tokens, options).encode_batch(texts, add_special_tokens=False)
    assert differences(make(engine, tokens, **options), texts, encodings) == []


@pytest.mark.parametrize("truncation", ["longest_first", "only_first", "only_second"])
@pytest.mark.parametrize("with_pairs", [False, True])
def test_truncation_and_padding_are_those_of_tokenizers(engine, truncation, with_pairs):
    if truncation == "only_second" and not with_pairs:
        return
    tokenizer, expected = make(engine), reference(TOKENS)
    lengths = [(first, second) for first in range(7) for second in range(7)]
    texts, pairs = (["a " * pair[which] for pair in lengths] for which in (0, 1))
    for max_length in (3, 4, 5, 6, 7, 8, 9, 12, 16):
        expected.enable_truncation(max_length, strategy=truncation)
        for pad in (False, True):
            expected.enable_padding(pad_id=0, length=max_length if pad else None)
            kept, encodings = [], []
            for row, text in enumerate(texts):
                inputs = (text, pairs[row]) if with_pairs else (text,)
                arguments = ([t] for t in inputs)
                options = {"max_length": max_length, "truncation": truncation}
                try:
                    expected.encode(*inputs)
                except Exception:  # what it cannot truncate, we refuse
                    with pytest.raises(ValueError, match=r"cannot bring row 0"):
                        tokenizer.encode(*arguments, **options)
                else:
                    kept.append(inputs)
            encodings = expected.encode_batch([x if with_pairs else x[0] for x in kept])
            found = tokenizer.encode(
                *map(list, zip(*kept, strict=True)),
                **options,
                padding="max_length" if pad else "longest",
            )
            for name, attribute in (
                ("token_ids", "ids"),
                ("segment_ids", "type_ids"),
                ("padding_mask", "attention_mask"),
            ):
                wanted = np.array([getattr(encoding, attribute) for encoding in encodings])
                np.testing.assert_array_equal(found[name], wanted)
            assert [found[name].dtype for name in found] == [np.int32, np.int32, np.bool_]


def test_a_cut_long_text_is_the_beginning_of_the_whole(engine):
    tokenizer = make(engine, hard_vocabulary())
    texts = random_texts(300, hard_vocabulary(), seed=5)
    whole = tokenizer.segment(texts)
    for max_length in (2, 3, 10):
        rows = tokenizer.encode(texts, max_length=max_length)
        for row, tokens in enumerate(whole):
            ids = rows["token_ids"][row][rows["padding_mask"][row]].tolist()
            expected = [tokenizer.token_to_id(token) for token in tokens[: max_length - 2]]
            assert ids[1:-1] == expected


# The two engines, and edges


@native
def test_both_engines_agree_on_any_text():
    tokens = hard_vocabulary()
    texts = [*random_texts(500, tokens, seed=9), "\ud800a\udfff", "a\ud83d\ude00b", ""]
    found = [
        make(name, tokens).tokenize(texts, unit)
        for name in ("native", "python")
        for unit in ("bytes", "code_points")
    ]
    for native_result, python_result in (found[0::2], found[1::2]):
        for name, values in native_result.items():
            np.testing.assert_array_equal(values, python_result[name])


@native
def test_the_number_of_threads_changes_nothing():
    texts = random_texts(3000, TOKENS, seed=4)
    engine = make("native").engine
    first = engine.tokenize(texts, "bytes", num_threads=1)
    for num_threads in (2, 3, 4):
        for one, other in zip(first, engine.tokenize(texts, "bytes", num_threads), strict=True):
            np.testing.assert_array_equal(one, other)


def test_no_texts_and_empty_texts(engine):
    tokenizer = make(engine)
    assert tokenizer.segment([]) == []
    assert tokenizer.segment(["", " ", "a"]) == [[], [], ["a"]]
    assert tokenizer.encode([])["token_ids"].shape == (0, 0)
    assert tokenizer.encode([], max_length=4, padding="max_length")["token_ids"].shape == (0, 4)
    assert tokenizer.encode([""])["token_ids"].tolist() == [[2, 3]]
    assert tokenizer.tokenize([""])["row_splits"].tolist() == [0, 0]


def test_special_tokens_in_a_text_are_a_switch(engine):
    assert make(engine).segment(["a[MASK]b"]) == [["a", "[MASK]", "b"]]
    off = make(engine, special_tokens_in_text=False)
    assert off.segment(["a[MASK]b"]) == [["a", "[UNK]", "[UNK]", "[UNK]", "b"]]
    no_mask = make(engine, [t for t in TOKENS if t != "[MASK]"], mask_token=None)
    assert no_mask.segment(["[MASK][SEP]"]) == [["[UNK]", "[UNK]", "[UNK]", "[SEP]"]]


def test_decode_joins_pieces_and_puts_no_blanks_into_chinese(engine):
    tokenizer = make(engine)
    text = "我爱Keras! hello world"
    ids = tokenizer.encode([text])["token_ids"][0]
    assert tokenizer.decode(ids) == "我爱keras!hello world"
    assert tokenizer.decode(ids, skip_special_tokens=False).startswith("[CLS]我")
    assert tokenizer.detokenize(["##b", "a", "##b"]) == "##b ab"
    with pytest.raises(ValueError, match="id 16 is not in"):
        tokenizer.decode([16])


# Vocabularies, configuration, files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf[PAD]\n", "byte order mark"),
        (b"[PAD]\n\n[UNK]\n", "line 2: the line is empty"),
        (b"[PAD]\r\n[UNK]\r\n", "line 1: ends with a carriage return"),
        (b"[PAD]\na\n[UNK]\na\n", "line 4: repeats the token 'a' of line 2"),
        (b"[PAD]\n\xff\n", "line 2: not UTF-8"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n", r"lacks the special token '\[MASK\]'"),
    ],
)
def test_a_broken_vocabulary_file_is_refused_with_the_line(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer(path)


def test_a_missing_file_and_wrong_tokens_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"v\.txt"):
        WordPieceTokenizer(tmp_path / "v.txt")
    with pytest.raises(TypeError, match="line 6: a token should be a str"):
        WordPieceTokenizer([*SPECIAL, 7])
    with pytest.raises(ValueError, match="cannot be a line"):
        WordPieceTokenizer([*SPECIAL, "a\nb"])


@pytest.mark.parametrize(
    "arguments",
    [{"lowercase": 1}, {"strip_accents": "no"}, {"max_characters_per_word": 0}],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments):
    [(name, value)] = arguments.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        WordPieceTokenizer(TOKENS, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 1}, "whole number from 2"),
        ({"max_length": 2, "pairs": ["a"]}, "whole number from 3"),
        ({"pairs": []}, "1 texts but 0 pairs"),
        ({"padding": "left"}, "padding='left'"),
        ({"padding": "max_length"}, "needs a max_length"),
        ({"truncation": "both"}, "truncation='both'"),
        ({"truncation": "only_second"}, "needs pairs"),
    ],
)
def test_wrong_encodings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer(TOKENS).encode(["a"], **arguments)


def test_a_single_str_is_refused(engine):
    with pytest.raises(TypeError, match="single str"):
        make(engine).encode("a")
    with pytest.raises(ValueError, match="offsets='words'"):
        make(engine).tokenize(["a"], "words")


def test_config_files_and_pickle_give_the_same_tokenizer(tmp_path):
    tokenizer = WordPieceTokenizer(TOKENS, lowercase=False, max_characters_per_word=7)
    tokenizer.save(tmp_path / "saved")
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == ["vocab.txt", "wordpiece_tokenizer.json"]
    tokenizer.segment(["a"])
    for other in (
        WordPieceTokenizer.load(tmp_path / "saved"),
        WordPieceTokenizer.from_config(tokenizer.get_config()),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert other.get_config() == tokenizer.get_config()
        assert other.segment(["我A a"]) == [["我", "[UNK]", "a"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[]", "holds no object"),
        ('{"format": "kerasllm.wordpiece_tokenizer"}', "version None"),
        ('{"format": "kerasllm.wordpiece_tokenizer", "version": 1, "x": 1}', "cannot be used"),
    ],
)
def test_a_broken_configuration_is_refused(tmp_path, content, message):
    WordPieceTokenizer(TOKENS).save(tmp_path)
    (tmp_path / "wordpiece_tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer.load(tmp_path)


def test_it_serves_in_a_text_pipeline(tmp_path):
    pipeline = TextPipeline.fit(["我爱keras", "a"], tokenizer=WordPieceTokenizer(TOKENS))
    assert pipeline.tokenize(["我爱Keras"]) == [["我", "爱", "ker", "##as"]]
    pipeline.save(tmp_path)
    assert TextPipeline.load(tmp_path).encode(["爱我"]) == pipeline.encode(["爱我"])


def test_a_trained_vocabulary_spells_its_corpus(tmp_path):
    pytest.importorskip("tokenizers")
    texts = ["the cat and the hat", "我爱北京", "cats and hats", "the Héllo"] * 5
    path = tmp_path / "vocab.txt"
    tokens = train_wordpiece_vocabulary(texts, 60, path)
    assert tokens[:5] == SPECIAL and len(tokens) <= 60
    tokenizer = WordPieceTokenizer(path)
    assert tokenizer.tokens == tokens
    assert all("[UNK]" not in row for row in tokenizer.segment(texts))
    with pytest.raises(TypeError, match="single one"):
        train_wordpiece_vocabulary("text", 60)
