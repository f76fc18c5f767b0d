"""Characters as a language model's ids."""

import pytest

from kerasllm.text import CharVocabularyTokenizer

TEXTS = ["床前明月光，\n疑是地上霜。", " A 👍🏽 b\t"]


def test_texts_come_back_whole():
    tokenizer = CharVocabularyTokenizer.fit(TEXTS)
    ids = tokenizer.encode(TEXTS)
    assert [tokenizer.decode(row) for row in ids] == TEXTS
    assert tokenizer.decode([tokenizer.end_id, *ids[0], tokenizer.end_id]) == TEXTS[0]
    assert tokenizer.tokens[:2] == ["[END]", "[UNK]"]
    assert (tokenizer.end_id, tokenizer.unknown_id) == (0, 1)
    assert len(tokenizer) == 2 + len({token for row in ids for token in row})


def test_unknown_characters_have_an_id():
    tokenizer = CharVocabularyTokenizer.fit(["明月明月明光"], max_size=4)
    assert tokenizer.encode(["光明月"]) == [[1, 2, 3]]
    assert tokenizer.decode([1, 2, 3]) == "\ufffd明月"
    with pytest.raises(ValueError, match="ids 0 to 3"):
        tokenizer.decode([4])


def test_saved_tokenizer_is_the_same(tmp_path):
    tokenizer = CharVocabularyTokenizer.fit(TEXTS)
    tokenizer.save(tmp_path)
    loaded = CharVocabularyTokenizer.load(tmp_path)
    assert loaded.tokens == tokenizer.tokens
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode(TEXTS) == tokenizer.encode(TEXTS)
    assert CharVocabularyTokenizer.fit(TEXTS[:1]).fingerprint != tokenizer.fingerprint


def test_what_is_no_tokenizer_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"char_tokenizer\.json is missing"):
        CharVocabularyTokenizer.load(tmp_path)
    (tmp_path / "char_tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="is broken, it is no JSON"):
        CharVocabularyTokenizer.load(tmp_path)
    (tmp_path / "char_tokenizer.json").write_text('{"format": "x"}', encoding="utf-8")
    with pytest.raises(ValueError, match="is no tokenizer of kerasllm"):
        CharVocabularyTokenizer.load(tmp_path)
