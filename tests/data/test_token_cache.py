"""Token caches: made once, found again, and made again when anything changed."""

import json
import os

import numpy as np
import pytest

from kerasllm.data import Corpus, LanguageModelEncoder, open_token_cache, tokenize_corpus
from kerasllm.text import CharVocabularyTokenizer, TextCleaner


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("明月光\n地上霜\n明月\n", encoding="utf-8")
    return path


def open_cache(tmp_path, source, **options):
    corpus = Corpus(source, **options)
    encoder = LanguageModelEncoder(CharVocabularyTokenizer.fit(["明月光地上霜"]))
    return open_token_cache(tmp_path / "cache", corpus, encoder)


def test_tokens_are_the_documents_each_after_the_end_token(tmp_path, source):
    cache = open_cache(tmp_path, source)
    tokenizer = CharVocabularyTokenizer.fit(["明月光地上霜"])
    assert cache.rebuilt == "there was none"
    assert isinstance(cache.token_ids, np.memmap)
    assert cache.token_ids.dtype == np.uint16
    assert cache.document_starts.tolist() == [0, 4, 8, 11]
    assert len(cache) == 11
    for begin, end, text in ((0, 4, "明月光"), (4, 8, "地上霜"), (8, 11, "明月")):
        assert cache.token_ids[begin] == tokenizer.end_id
        assert tokenizer.decode(cache.token_ids[begin:end]) == text
    assert (cache.documents, cache.characters, cache.bytes) == (3, 8, 24)


def test_second_opening_takes_what_is_there(tmp_path, source):
    open_cache(tmp_path, source)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    cache = open_cache(tmp_path, source)
    assert cache.rebuilt is None and len(cache) == 11 and cache.characters == 8
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert after == before


def test_new_time_of_change_with_the_same_content_serves(tmp_path, source):
    open_cache(tmp_path, source)
    os.utime(source, ns=(1, 1))
    assert open_cache(tmp_path, source).rebuilt is None


def test_changed_source_is_tokenised_anew(tmp_path, source):
    open_cache(tmp_path, source)
    source.write_text("明月光\n地上霜\n明光\n", encoding="utf-8")  # of the same size
    cache = open_cache(tmp_path, source)
    assert cache.rebuilt == f"{source} changed"
    source.write_text("明月光\n", encoding="utf-8")
    assert open_cache(tmp_path, source).documents == 1


def test_changed_tokeniser_or_settings_tokenise_anew(tmp_path, source):
    open_cache(tmp_path, source)
    encoder = LanguageModelEncoder(CharVocabularyTokenizer.fit(["明月"]))
    cache = open_token_cache(tmp_path / "cache", Corpus(source), encoder)
    assert cache.rebuilt == "the tokeniser changed"
    cache = open_token_cache(tmp_path / "cache", Corpus(source, cleaner=TextCleaner()), encoder)
    assert cache.rebuilt == "the settings changed"


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "meta"])
def test_damaged_cache_is_made_anew(tmp_path, source, damage):
    open_cache(tmp_path, source)
    path = tmp_path / "cache" / "token_ids.bin"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "changed":
        content[3] ^= 1
        path.write_bytes(content)
    elif damage == "missing":
        path.unlink()
    else:
        meta = json.loads((tmp_path / "cache" / "token_cache.json").read_text("utf-8"))
        del meta["sources"]
        (tmp_path / "cache" / "token_cache.json").write_text(json.dumps(meta), "utf-8")
    cache = open_cache(tmp_path, source)
    assert cache.rebuilt is not None
    assert len(cache) == 11
    assert open_cache(tmp_path, source).rebuilt is None


def test_failure_while_building_leaves_the_old_cache(tmp_path, source):
    open_cache(tmp_path, source)

    class Broken(LanguageModelEncoder):
        def __call__(self, documents):
            raise OSError("No space left on device")

    encoder = Broken(CharVocabularyTokenizer.fit(["明"]))
    with pytest.raises(OSError, match="No space"):
        open_token_cache(tmp_path / "cache", Corpus(source), encoder)
    assert open_cache(tmp_path, source).rebuilt is None
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]


def test_tokens_in_memory_are_the_same(tmp_path, source):
    cache = open_cache(tmp_path, source)
    encoder = LanguageModelEncoder(CharVocabularyTokenizer.fit(["明月光地上霜"]))
    again = tokenize_corpus(Corpus(source), encoder)
    assert again.token_ids.tolist() == cache.token_ids.tolist()
    assert again.document_starts.tolist() == cache.document_starts.tolist()
    assert (again.characters, again.bytes) == (cache.characters, cache.bytes)
