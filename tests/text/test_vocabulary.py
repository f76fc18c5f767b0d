"""Vocabulary."""

import collections
import random
import sys

import pytest

from kerasllm.text import Vocabulary

CORPUS = [["很", "好", "好"], ["不", "好", "b", "a"], [], ["很", "B"]]
NASTY = [
    *("a\nb", "\r", "\r\n", "\\", "\\n", "\\u000a", "\t", " ", "", " a", "a b", "\u3000", "\u2028"),
    *(
        "\x00",
        "\x85",
        "\x1c",
        "\ufeff",
        "\ufeffa",
        "\ud800",
        "\udc80",
        "👨‍👩‍👧",
        "❤️",
        "🇨🇳",
        "#",
        "e\u0301",
    ),
    *("\U000e0001", "\U0010ffff", "\\e", "\\s", "[PAD", "é", "\u200b"),
]


def test_special_tokens_come_first():
    vocabulary = Vocabulary(["好"], pad_token="<pad>", unknown_token="<unk>")
    assert vocabulary.tokens == ["<pad>", "<unk>", "好"]
    assert (vocabulary.pad_id, vocabulary.unknown_id) == (0, 1)


def test_fit_sorts_by_frequency_then_code_point():
    assert Vocabulary.fit(CORPUS).tokens[2:] == ["好", "很", "B", "a", "b", "不"]


def test_fit_does_not_depend_on_the_order_of_the_corpus():
    source = random.Random(0)
    corpus = [source.choices("甲乙丙丁abcd", k=7) for _ in range(50)]
    expected = Vocabulary.fit(corpus).tokens
    source.shuffle(corpus)
    assert Vocabulary.fit(iter(corpus)).tokens == expected


def test_fit_agrees_with_counting_by_hand():
    source = random.Random(1)
    corpus = [source.choices(range(0x4E00, 0x4E80), k=20) for _ in range(50)]
    corpus = [list(map(chr, codes)) for codes in corpus]
    counts = collections.Counter(token for tokens in corpus for token in tokens)
    vocabulary = Vocabulary.fit(corpus, max_size=42, min_frequency=5)
    assert len(vocabulary) <= 42
    kept = vocabulary.tokens[2:]
    assert all(counts[token] >= 5 for token in kept)
    left_out = [count for token, count in counts.items() if token not in vocabulary]
    assert max(left_out) <= min(counts[token] for token in kept)


@pytest.mark.parametrize(("max_size", "size"), [(None, 8), (100, 8), (8, 8), (4, 4), (2, 2)])
def test_max_size_counts_the_special_tokens(max_size, size):
    assert len(Vocabulary.fit(CORPUS, max_size=max_size)) == size


def test_special_tokens_in_a_corpus_are_not_counted_as_words():
    assert Vocabulary.fit([["[PAD]", "好", "[UNK]"]]).tokens == ["[PAD]", "[UNK]", "好"]


def test_encode_and_decode_are_inverse_for_known_tokens():
    vocabulary = Vocabulary.fit(CORPUS)
    for tokens in CORPUS:
        assert vocabulary.decode(vocabulary.encode(tokens)) == tokens


def test_unknown_tokens_become_one():
    vocabulary = Vocabulary(["好"])
    assert vocabulary.encode(["坏", "好"]) == [1, 2]
    assert vocabulary.decode([1, 2, 0]) == ["[UNK]", "好", "[PAD]"]
    assert "好" in vocabulary
    assert "坏" not in vocabulary


def test_unknown_rate_is_the_share_of_unknown_tokens():
    vocabulary = Vocabulary(["好"])
    assert vocabulary.unknown_rate(["好", "坏", "好", "差"]) == 0.5
    assert vocabulary.unknown_rate([]) == 0.0


def test_tokens_is_a_copy():
    vocabulary = Vocabulary(["好"])
    vocabulary.tokens.append("坏")
    assert len(vocabulary) == 3


@pytest.mark.parametrize("token_id", [-1, 3, 10**20])
def test_ids_out_of_range_are_named(token_id):
    with pytest.raises(ValueError, match=rf"ids\[1\] is {token_id}, .* 0 to 2"):
        Vocabulary(["好"]).decode([0, token_id])


@pytest.mark.parametrize("tokens", [["好", "坏", "好"], ["[PAD]"], ["[UNK]"]])
def test_duplicate_tokens_are_named(tokens):
    with pytest.raises(ValueError, match=r"'(好|\[PAD\]|\[UNK\])' is there twice"):
        Vocabulary(tokens)


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match=r"id 3 .* int"):
        Vocabulary(["好", 7])
    for call in (Vocabulary, Vocabulary([]).encode, Vocabulary.fit, lambda s: Vocabulary.fit([s])):
        with pytest.raises(TypeError, match="single str: '好'"):
            call("好")


@pytest.mark.parametrize("arguments", [{"max_size": 1}, {"min_frequency": 0}])
def test_wrong_sizes_are_refused(arguments):
    [(name, value)] = arguments.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        Vocabulary.fit(CORPUS, **arguments)


# Files


def test_any_token_survives_a_file(tmp_path):
    source = random.Random(2)
    drawn = {chr(source.randrange(sys.maxunicode + 1)) * 2 for _ in range(5_000)}
    vocabulary = Vocabulary([*NASTY, *sorted(drawn)])
    vocabulary.save(tmp_path / "v.txt")
    assert Vocabulary.load(tmp_path / "v.txt").tokens == vocabulary.tokens


def test_special_names_survive_a_file(tmp_path):
    Vocabulary(["好"], "", "\\ \n").save(tmp_path / "v.txt")
    assert Vocabulary.load(tmp_path / "v.txt").tokens == ["", "\\ \n", "好"]


def test_the_line_number_is_the_id(tmp_path):
    vocabulary = Vocabulary(["好", "a\nb", *NASTY[1:]])
    vocabulary.save(tmp_path / "v.txt")
    lines = (tmp_path / "v.txt").read_text(encoding="utf-8").split("\n")
    assert lines[:4] == ["[PAD]", "[UNK]", "好", r"a\nb"]
    assert len(lines) == len(vocabulary) + 1
    assert all(line.isprintable() and line.strip() == line for line in lines)


def test_a_file_that_an_editor_saved_on_windows_is_read(tmp_path):
    vocabulary = Vocabulary(["好", "a\r"])
    vocabulary.save(tmp_path / "v.txt")
    content = (tmp_path / "v.txt").read_bytes()
    (tmp_path / "v.txt").write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert Vocabulary.load(tmp_path / "v.txt").tokens == vocabulary.tokens


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "are 0 in all"),
        (b"[PAD]\n", "are 1 in all"),
        (b"[PAD]\n[UNK]\na\nb", "line 4: .* cut off"),
        (b"[PAD]\n[UNK]\na\na\n", "line 4: the token 'a' is already on line 3"),
        (b"[PAD]\n[UNK]\n\na\n", "line 3: a blank line"),
        (b"[PAD]\n[UNK]\na\\xb\n", r"line 3: .*no escape"),
        (b"[PAD]\n[UNK]\na\\\n", r"line 3: .*no escape"),
        (b"[PAD]\n[UNK]\n\\u12\n", r"line 3: .*no escape"),
        (b"[PAD]\n[UNK]\n\\U00110000\n", r"line 3: .*no escape"),
        ("[PAD]\n[UNK]\n好\n".encode("gbk"), "line 3: .*utf-8"),
    ],
)
def test_a_broken_file_is_refused_with_the_line(tmp_path, content, message):
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"v\.txt.*{message}"):
        Vocabulary.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"v\.txt"):
        Vocabulary.load(tmp_path / "v.txt")
