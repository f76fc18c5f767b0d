"""WordPiecePipeline: texts for pretrained models by TextPipeline's methods."""

import pytest

from kerasllm.text import TextPipeline, WordPiecePipeline, WordPieceTokenizer, load_pipeline

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "味", "道", "好", "真"]


def make_pipeline(**options):
    return WordPiecePipeline(WordPieceTokenizer(TOKENS), **options)


def test_texts_become_ids_between_cls_and_sep():
    pipeline = make_pipeline(max_length=5)
    assert pipeline.encode(["味道", "", "味道真好", "坏"]) == [
        [2, 5, 6, 3],
        [2, 3],
        [2, 5, 6, 8, 3],
        [2, 1, 3],
    ]
    assert pipeline.tokenize(["<b>味道</b>"]) == [["味", "道"]]  # cleaned
    assert pipeline.vocabulary.tokens == TOKENS
    assert pipeline.unknown_rate(["味坏", "道好", ""]) == 0.25
    assert pipeline.encode([]) == []


def test_a_saved_pipeline_does_the_same(tmp_path):
    pipeline = make_pipeline(labels=["负面", "正面"], max_length=4)
    pipeline.save(tmp_path)
    loaded = load_pipeline(tmp_path)
    assert type(loaded) is WordPiecePipeline
    assert loaded.encode(["味道真好"]) == pipeline.encode(["味道真好"])
    assert loaded.label_ids(["正面"]) == [1]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*TOKENS[:-2], "真", "好"]) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab.txt is not the vocabulary that it was saved"):
        load_pipeline(tmp_path)


def test_other_pipelines_are_loaded_as_what_they_are(tmp_path):
    TextPipeline.fit(["味道"], labels=["a"]).save(tmp_path)
    assert type(load_pipeline(tmp_path)) is TextPipeline
    with pytest.raises(FileNotFoundError, match="holds no saved text pipeline"):
        load_pipeline(tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 1}, "max_length=1 should be a whole number from 2"),
        ({"labels": ["a", "a"]}, "is there twice"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_pipeline(**options)


def test_padding_must_have_the_id_0():
    with pytest.raises(ValueError, match=r"The id of \[PAD\] is 8; expected 0"):
        WordPiecePipeline(WordPieceTokenizer([*TOKENS[1:], "[PAD]"]))
