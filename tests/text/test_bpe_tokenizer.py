"""BPETokenizer against the tokenizers library's own class, and its files."""

import json

import pytest

from kerasllm.text import BPETokenizer

tokenizers = pytest.importorskip("tokenizers")

CORPUS = [
    "床前明月光，疑是地上霜。",
    "举头望明月，低头思故乡。",
    "The moon is bright. The moon!",
] * 5
TEXTS = ["明月光 moon", "", " two  blanks\n\n", "emoji 👍🏽 日本語", "\u0000\ufeff", "𠀀" * 3]


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.fit(CORPUS, 300)


def test_round_trip_of_any_text(tokenizer):
    assert [tokenizer.decode(ids) for ids in tokenizer.encode(TEXTS)] == TEXTS
    assert tokenizer.decode([tokenizer.end_id, *tokenizer.encode(["月"])[0]]) == "月"
    assert len(tokenizer.tokens) == len(tokenizer) == 300
    assert tokenizer.encode(["a\ud800b"]) == tokenizer.encode(["a\ufffdb"])


def test_merges_are_the_librarys(tokenizer, tmp_path):
    peer = tokenizers.ByteLevelBPETokenizer()
    peer.train_from_iterator(
        CORPUS, 300, min_frequency=2, special_tokens=["<|endoftext|>"], show_progress=False
    )
    assert tokenizer.encode(TEXTS) == [encoding.ids for encoding in peer.encode_batch(TEXTS)]
    # vocab.json and merges.txt, as GPT-2 came out with.
    peer.save_model(str(tmp_path))
    loaded = BPETokenizer.load(tmp_path)
    assert loaded.encode(TEXTS) == tokenizer.encode(TEXTS)
    assert loaded.end_id == tokenizer.end_id
    assert loaded.decode([loaded.end_id]) == ""


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = BPETokenizer.load(tmp_path)
    assert loaded.encode(TEXTS) == tokenizer.encode(TEXTS)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert BPETokenizer.fit(CORPUS, 290).fingerprint != tokenizer.fingerprint


def test_end_token_of_a_hugging_face_folder(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))
    assert BPETokenizer.load(tmp_path).end_id == 7
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "T"}}))
    assert BPETokenizer.load(tmp_path).end_id == tokenizer.tokens.index("T")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "nowhere"}))
    with pytest.raises(ValueError, match="eos_token 'nowhere', which is not in the vocabulary"):
        BPETokenizer.load(tmp_path)


def test_all_end_tokens_of_a_hugging_face_folder(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 0]}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    loaded = BPETokenizer.load(tmp_path)
    assert loaded.end_id == tokenizer.end_id == 0
    assert loaded.end_ids == (0, 5, 7)
    assert tokenizer.end_ids == (0,)


@pytest.mark.parametrize("form", ["<s> $A", "<s> $A </s>", "<s> </s> $A", "$A </s>", None])
def test_start_ids_are_what_the_post_processor_puts_before_a_text(tmp_path, form):
    tokenizer = BPETokenizer.fit(CORPUS, 300)
    library = tokenizer._tokenizer
    library.add_special_tokens(["<s>", "</s>"])
    ids = [(token, library.token_to_id(token)) for token in ("<s>", "</s>")]
    if form is not None:
        library.post_processor = tokenizers.processors.TemplateProcessing(
            single=form, special_tokens=ids
        )
    tokenizer.save(tmp_path)
    loaded = BPETokenizer.load(tmp_path)
    whole = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("月光").ids
    ended = form is not None and form.endswith("</s>")
    assert [*loaded.start_ids, *loaded.encode(["月光"])[0]] == whole[: -1 if ended else None]


def test_merges_of_another_model_than_gpt2_are_refused(tokenizer, tmp_path):
    tokenizer._tokenizer.model.save(str(tmp_path))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "gpt2", "eos_token_id": 0}))
    assert BPETokenizer.load(tmp_path).encode(TEXTS) == tokenizer.encode(TEXTS)
    config.write_text(json.dumps({"model_type": "qwen2", "eos_token_id": 0}))
    with pytest.raises(ValueError, match="do not say how qwen2 cuts texts"):
        BPETokenizer.load(tmp_path)
    config.write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json is broken, it holds no object"):
        BPETokenizer.load(tmp_path)


def test_broken_files_are_named(tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer.json is missing"):
        BPETokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        BPETokenizer.load(tmp_path)
    with pytest.raises(ValueError, match="no token 300"):
        tokenizer.decode([300])
    with pytest.raises(ValueError, match="need 257"):
        BPETokenizer.fit(CORPUS, 100)
