"""TextStream: whole characters, stop strings."""

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


def test_byte_pairs():
    pytest.importorskip("tokenizers")
    tokenizer = BPETokenizer.fit(["床前明月光，疑是地上霜。"] * 3, 270)
    stream = TextStream(tokenizer.decode)
    pieces = [stream.add(token) for token in tokenizer.encode([TEXT])[0]]
    assert "".join(pieces) + stream.finish() == TEXT
    assert not any("\ufffd" in piece for piece in pieces)
