"""TextPipeline: encoding, labels, saving and loading."""

import json

import pytest

from kerasllm.text import (
    TOKENIZERS,
    CharTokenizer,
    JiebaTokenizer,
    TextCleaner,
    TextPipeline,
    Vocabulary,
)

TEXTS = [
    "<p>味道很好，送餐很快！！！！！</p>",
    "等了两个小时才到，电话１３８００１３８０００没人接",
    "李小福在云计算实验室",
    "　",
    "",
]
LABELS = ["负面", "正面"]


def make_pipeline(**arguments):
    defaults = {
        "cleaner": TextCleaner(repeats=2, mask_phones=True),
        "tokenizer": JiebaTokenizer("search", user_dictionary=["云计算实验室"]),
        "labels": LABELS,
        "max_length": 6,
    }
    return TextPipeline.fit(TEXTS, **{**defaults, **arguments})


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline()


@pytest.fixture
def saved(pipeline, tmp_path):
    pipeline.save(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def edit(folder, **changes):
    path = folder / "text_pipeline.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **changes}), encoding="utf-8")


# Encoding


def test_tokens_are_those_of_the_parts_one_after_another(pipeline):
    cleaned = [pipeline.cleaner(text) for text in TEXTS]
    assert pipeline.tokenize(TEXTS) == pipeline.tokenizer.segment(cleaned)
    assert "PHONE" in pipeline.tokenize(TEXTS)[1]
    assert "云计算实验室" in pipeline.tokenize(TEXTS)[2]


def test_ids_are_those_of_the_tokens_cut_to_max_length(pipeline):
    for tokens, ids in zip(pipeline.tokenize(TEXTS[:3]), pipeline.encode(TEXTS[:3]), strict=True):
        assert ids == pipeline.vocabulary.encode(tokens)[:6]


def test_no_sequence_is_empty(pipeline):
    assert pipeline.encode(["", "\u200b\ufeff", "<p></p>"]) == [[1], [1], [1]]


def test_without_max_length_nothing_is_cut():
    pipeline = make_pipeline(max_length=None, tokenizer=CharTokenizer())
    [ids] = pipeline.encode(["味道" * 500])
    assert len(ids) == 1_000


def test_fit_passes_the_vocabularys_arguments_on():
    pipeline = make_pipeline(tokenizer=CharTokenizer(), max_size=10, min_frequency=2)
    expected = Vocabulary.fit(pipeline.tokenize(TEXTS), max_size=10, min_frequency=2)
    assert pipeline.vocabulary.tokens == expected.tokens
    assert len(expected) < len(make_pipeline(tokenizer=CharTokenizer()).vocabulary)


def test_parts_that_are_not_given_are_the_default_ones():
    pipeline = TextPipeline.fit(["味道很好"])
    assert pipeline.cleaner.get_config() == TextCleaner().get_config()
    assert pipeline.tokenizer.get_config() == JiebaTokenizer().get_config()
    assert (pipeline.labels, pipeline.max_length) == (None, None)


@pytest.mark.parametrize("texts", [[], ["", "<p></p>"]])
def test_fit_refuses_texts_without_tokens(texts):
    with pytest.raises(ValueError, match=f"{len(texts)} texts, all empty"):
        TextPipeline.fit(texts, tokenizer=CharTokenizer())


def test_a_lone_str_and_items_that_are_no_str_are_refused(pipeline):
    for method in (pipeline.tokenize, pipeline.encode, TextPipeline.fit):
        with pytest.raises(TypeError, match="single str"):
            method("一个文本")
        with pytest.raises(TypeError, match=r"texts\[1\] .* float"):
            method(["好", float("nan")])


@pytest.mark.parametrize("max_length", [0, -1, 2.0, True, "6"])
def test_a_wrong_max_length_is_refused(max_length):
    with pytest.raises(ValueError, match="max_length="):
        TextPipeline(None, CharTokenizer(), Vocabulary([]), max_length=max_length)


# Labels


def test_label_ids_are_the_places_of_the_names(pipeline):
    assert pipeline.label_ids(["正面", "负面", "正面"]) == [1, 0, 1]
    assert pipeline.label_ids([]) == []


def test_an_unknown_label_is_named_with_the_known_ones(pipeline):
    with pytest.raises(ValueError, match=r"labels\[1\] is '中性', .* '负面', '正面'"):
        pipeline.label_ids(["正面", "中性"])


def test_labels_that_are_no_list_of_names_are_refused(pipeline):
    with pytest.raises(TypeError, match="single str"):
        pipeline.label_ids("正面")
    with pytest.raises(TypeError, match="single str"):
        make_pipeline(labels="正面")
    with pytest.raises(TypeError, match=r"labels\[1\] .* int"):
        make_pipeline(labels=["正面", 1])
    with pytest.raises(ValueError, match="'正面' is there twice"):
        make_pipeline(labels=["正面", "负面", "正面"])
    with pytest.raises(ValueError, match="has no labels"):
        make_pipeline(labels=None).label_ids(["正面"])


# Saving and loading


def test_a_loaded_pipeline_does_the_same(pipeline, saved):
    again = TextPipeline.load(saved)
    assert again.encode(TEXTS) == pipeline.encode(TEXTS)
    assert again.tokenize(TEXTS) == pipeline.tokenize(TEXTS)
    assert again.vocabulary.tokens == pipeline.vocabulary.tokens
    assert (again.labels, again.max_length) == (LABELS, 6)


def test_saving_twice_replaces_and_leaves_two_files(pipeline, saved):
    pipeline.save(saved)
    assert sorted(path.name for path in saved.iterdir()) == ["text_pipeline.json", "vocabulary.txt"]


def test_the_file_is_readable_text_with_a_version(saved):
    text = (saved / "text_pipeline.json").read_text(encoding="utf-8")
    assert json.loads(text)["version"] == 1
    assert "云计算实验室" in text
    assert "正面" in text


def test_lone_surrogates_survive_saving(tmp_path):
    pipeline = TextPipeline(
        None, JiebaTokenizer(user_dictionary=["\ud800词"]), Vocabulary(["\ud800"]), ["\udfff\\"]
    )
    pipeline.save(tmp_path)
    again = TextPipeline.load(tmp_path)
    assert again.labels == ["\udfff\\"]
    assert again.tokenizer.user_dictionary[0][0] == "\ud800词"
    assert "\ud800" in again.vocabulary


@pytest.mark.parametrize("name", ["text_pipeline.json", "vocabulary.txt"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        TextPipeline.load(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no JSON"),
        (b'{"format": ', "no JSON"),
        ('{"a": "好"}'.encode("gbk"), "no JSON"),
        (b"[1, 2]", "holds no object"),
        (b'{"model": "bert"}', "no text pipeline of kerasllm"),
    ],
)
def test_a_foreign_or_broken_file_is_refused(saved, content, message):
    (saved / "text_pipeline.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        TextPipeline.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2, but .* reads version 1"),
        ({"version": None}, "version None"),
        ({"tokenizer": {"class": "Other", "config": {}}}, "'Other' is none of CharTokenizer"),
        ({"tokenizer": {"class": "CharTokenizer"}}, "lacks 'config'"),
        ({"tokenizer": "JiebaTokenizer"}, "cannot be used"),
        ({"cleaner": {"html": True, "shout": True}}, "shout"),
        ({"cleaner": None}, "cannot be used"),
        ({"max_length": 0}, "max_length=0"),
        ({"labels": ["好", "好"]}, "'好' is there twice"),
    ],
)
def test_a_file_with_wrong_content_is_refused(saved, changes, message):
    edit(saved, **changes)
    with pytest.raises(ValueError, match=message):
        TextPipeline.load(saved)


def test_another_vocabulary_of_the_same_size_is_refused(pipeline, saved):
    tokens = pipeline.vocabulary.tokens[2:]
    Vocabulary(tokens[::-1]).save(saved / "vocabulary.txt")
    with pytest.raises(ValueError, match=r"vocabulary\.txt is not the vocabulary"):
        TextPipeline.load(saved)


def test_a_tokenizer_needs_one_line_to_be_saved_and_loaded(tmp_path, monkeypatch):
    class LineTokenizer(CharTokenizer):
        pass

    pipeline = make_pipeline(tokenizer=LineTokenizer())
    with pytest.raises(ValueError, match=r"LineTokenizer cannot be saved.*TOKENIZERS"):
        pipeline.save(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(TOKENIZERS, "LineTokenizer", LineTokenizer)
    pipeline.save(tmp_path)
    assert type(TextPipeline.load(tmp_path).tokenizer) is LineTokenizer


def test_a_cleaner_of_another_class_is_not_saved_as_a_plain_one(tmp_path):
    class LoudCleaner(TextCleaner):
        pass

    with pytest.raises(ValueError, match="LoudCleaner cannot be saved"):
        make_pipeline(cleaner=LoudCleaner(), tokenizer=CharTokenizer()).save(tmp_path)


def test_unknown_words_are_spelled_in_training_and_in_use(tmp_path):
    texts = ["酒店 酒店 房间", "酒店 房间 早餐", "早饭"]
    pipeline = TextPipeline.fit(texts, min_frequency=2, spell_unknown=True)
    # 早餐 and 早饭 come once each: of their characters only 早 comes twice.
    assert set(pipeline.vocabulary.tokens[2:]) == {"酒店", "房间", "早"}
    early, unknown = pipeline.vocabulary.encode(["早"])[0], pipeline.vocabulary.unknown_id
    assert pipeline.encode(["早餐"]) == [[early, unknown]]
    assert pipeline.unknown_rate(["早餐", "酒店"]) == 1 / 3
    pipeline.save(tmp_path)
    assert TextPipeline.load(tmp_path).encode(["早餐酒店"]) == pipeline.encode(["早餐酒店"])


def test_without_spelling_an_unknown_word_is_one_id():
    pipeline = TextPipeline.fit(["酒店 很好", "早餐"], min_frequency=1)
    assert pipeline.encode(["早饭"]) == [[pipeline.vocabulary.unknown_id]]
