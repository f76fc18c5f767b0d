"""TextStream: whole characters, stop strings."""

import numpy as np
import pytest

from kerasllm.generation import TextStream
from kerasllm.text import BPETokenizer

TEXT = "床前明月光，👍🏽 ok\n\nend 𠀀"


def decode_bytes(ids):
    return bytes(ids).decode("utf-8", "replace")


def test_no_piece_ends_within_a_character():
    stream = TextStream(decode_bytes)
    pieces = [stream.add(byte) for byte in TEXT.encode()]
    assert "".join(pieces) + stream.finish() == TEXT
    assert [piece for piece in pieces if piece] == list(TEXT)


def test_bytes_of_no_character_come_out_in_the_end():
    data = "好".encode()[:2] + b"\xff\xff\xff\xff\xff\xffab" + "好".encode()[:1]
    stream = TextStream(decode_bytes)
    text = "".join(stream.add(byte) for byte in data) + stream.finish()
    assert text.count("\ufffd") >= 6 and "ab" in text and text.endswith("\ufffd")


@pytest.mark.parametrize("stop", [["\n\n"], ["，👍"], ["xyz", "ok"], ["end 𠀀"], "月"])
def test_a_stop_string_and_what_follows_are_left_out(stop):
    stream = TextStream(decode_bytes, stop)
    text = "".join(stream.add(byte) for byte in TEXT.encode()) + stream.finish()
    first = min(TEXT.find(s) for s in ([stop] if isinstance(stop, str) else stop) if s in TEXT)
    assert stream.stopped
    assert text == TEXT[:first]


def test_the_begin_of_a_stop_string_waits():
    stream = TextStream(decode_bytes, ["\n\nQ:"])
    pieces = [stream.add(byte) for byte in b"a\n\nb\n\nQ"]
    assert pieces == ["a", "", "", "\n\nb", "", "", ""]
    assert stream.finish() == "\n\nQ"


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="stop string is empty"):
        TextStream(decode_bytes, [""])


@pytest.fixture(scope="module")
def pairs():
    pytest.importorskip("tokenizers")
    # Texts whose characters share bytes, so that tokens straddle characters.
    random = np.random.default_rng(0)
    characters = [chr(0x6625 + i) for i in range(24)]
    return BPETokenizer.fit(["".join(random.choice(characters, 20)) for _ in range(200)], 512)


def stream_of(tokenizer, tokens, before=()):
    stream = TextStream(tokenizer.decode, before=before)
    return [stream.add(token) for token in tokens] + [stream.finish()]


def test_pieces_of_any_tokens_are_the_text_of_all(pairs):
    random = np.random.default_rng(1)
    straddling = 0
    for _ in range(500):
        tokens = random.integers(0, len(pairs), 30).tolist()
        whole = pairs.decode(tokens)
        assert "".join(stream_of(pairs, tokens)) == whole
        straddling += "\ufffd" in whole
    assert straddling > 400


def test_tokens_that_straddle_characters_cut_none(pairs):
    text = "".join(chr(0x6625 + i % 24) for i in range(40))
    for begin in range(20):
        (tokens,) = pairs.encode([text[begin : begin + 20]])
        pieces = stream_of(pairs, tokens)
        assert "".join(pieces) == text[begin : begin + 20] and "\ufffd" not in "".join(pieces)
    straddling = TextStream(lambda ids: b"".join(parts[i] for i in ids).decode("utf-8", "replace"))
    data = "春春春".encode()
    parts = [data[:4], data[4:8], data[8:]]
    assert [straddling.add(i) for i in range(3)] == ["春", "春", "春"]


def test_the_first_piece_keeps_its_blank_after_a_prompt():
    tokenizers = pytest.importorskip("tokenizers")
    words = {"<unk>": 0, "▁Hello": 1, "▁world": 2, "▁and": 3, "▁": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    stream = TextStream(tokenizer.decode, before=[1])
    assert [stream.add(token) for token in (2, 3)] == [" world", " and"]
    tokens = [2, 4, 4, 3, 2, 4, 3]
    pieces = stream_of(tokenizer, tokens, before=[1])
    assert "Hello" + "".join(pieces) == tokenizer.decode([1, *tokens])
    assert "".join(stream_of(tokenizer, tokens)) == tokenizer.decode(tokens)


def test_byte_pairs():
    pytest.importorskip("tokenizers")
    tokenizer = BPETokenizer.fit(["床前明月光，疑是地上霜。"] * 3, 270)
    stream = TextStream(tokenizer.decode)
    pieces = [stream.add(token) for token in tokenizer.encode([TEXT])[0]]
    assert "".join(pieces) + stream.finish() == TEXT
    assert not any("\ufffd" in piece for piece in pieces)
