"""TextClassifier: from raw texts to classes, saved and loaded."""

import os

import keras
import numpy as np
import pandas as pd
import pytest
from small_classifier import LABELS, TEXTS, make_classifier

from kerasllm import TextClassifier
from kerasllm.text import CharTokenizer, TextPipeline


@pytest.fixture(scope="module")
def classifier():
    return make_classifier()


@pytest.fixture(scope="module")
def probabilities_one_by_one(classifier):
    """The softmax of the logits in float64 NumPy, each text in a batch of its own."""
    rows = []
    for ids in classifier.pipeline.encode(TEXTS):
        logits = np.array(classifier.model(np.array([ids])))[0].astype("float64")
        rows.append(np.exp(logits) / np.exp(logits).sum())
    return np.stack(rows)


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_probabilities_are_in_the_order_of_the_texts(
    classifier, probabilities_one_by_one, batch_size
):
    probabilities = classifier.probabilities(TEXTS, batch_size=batch_size)
    assert (probabilities.shape, probabilities.dtype) == ((len(TEXTS), 3), np.float32)
    np.testing.assert_allclose(probabilities, probabilities_one_by_one, atol=1e-6)
    assert len({tuple(row) for row in probabilities.round(4)}) >= 6  # so that the order matters
    backwards = classifier.probabilities(TEXTS[::-1], batch_size=batch_size)[::-1]
    np.testing.assert_allclose(backwards, probabilities, atol=1e-6)


def test_predictions_are_the_likeliest_classes(classifier, probabilities_one_by_one):
    predictions = classifier.predict(TEXTS)
    assert len({label for label, _ in predictions}) > 1
    for (label, probability), row in zip(predictions, probabilities_one_by_one, strict=True):
        assert label == LABELS[row.argmax()]
        assert type(probability) is float
        assert probability == pytest.approx(row.max(), abs=1e-6)


def test_vocabulary_of_another_size_is_refused(classifier):
    characters = "".join(map(chr, range(0x4E00, 0x5000)))
    pipeline = TextPipeline.fit([characters], tokenizer=CharTokenizer(), labels=LABELS)
    assert len(pipeline.vocabulary) > classifier.model.vocabulary_size
    with pytest.raises(ValueError, match=r"vectors for .* tokens, but the pipeline's vocabulary"):
        TextClassifier(classifier.model, pipeline)


def test_no_texts_give_no_predictions(classifier):
    for empty in ([], (), np.array([], dtype=object), pd.Series([], dtype=str)):
        assert classifier.probabilities(empty).shape == (0, 3)
        assert classifier.predict(empty) == []


def test_columns_of_a_table_are_texts_too(classifier):
    """An array once raised NumPy's error about truth values."""
    expected = classifier.predict(TEXTS)
    assert classifier.predict(np.array(TEXTS)) == expected
    assert classifier.predict(pd.Series(TEXTS, index=range(8, 0, -1))) == expected


def test_text_of_nothing_is_one_unknown_word(classifier):
    assert classifier.predict([""]) == classifier.predict(["\u200b  "])
    assert classifier.pipeline.encode([""]) == [[1]]


def test_single_str_is_an_error(classifier):
    with pytest.raises(TypeError, match="list of texts"):
        classifier.predict("房间很干净")


def test_pipeline_without_labels_is_an_error(classifier):
    pipeline = TextPipeline.fit(["好"], tokenizer=CharTokenizer())
    with pytest.raises(ValueError, match="no labels"):
        TextClassifier(classifier.model, pipeline)


def test_saved_and_loaded_it_predicts_the_same(classifier, tmp_path):
    folder = tmp_path / "new" / "folder"
    classifier.save(folder)
    assert sorted(os.listdir(folder)) == ["model.keras", "text_pipeline.json", "vocabulary.txt"]
    loaded = TextClassifier.load(str(folder))
    assert loaded.labels == LABELS
    np.testing.assert_array_equal(loaded.probabilities(TEXTS), classifier.probabilities(TEXTS))


def test_saving_again_replaces_what_was_there(classifier, tmp_path):
    make_classifier(["a", "b"]).save(tmp_path)
    classifier.save(tmp_path)
    loaded = TextClassifier.load(tmp_path)
    np.testing.assert_array_equal(loaded.probabilities(TEXTS), classifier.probabilities(TEXTS))


@pytest.fixture
def saved(classifier, tmp_path):
    classifier.save(tmp_path)
    return tmp_path


def test_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no trained classifier: model\.keras is missing"):
        TextClassifier.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["model.keras", "text_pipeline.json", "vocabulary.txt"])
def test_missing_file_is_an_error_that_names_it(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        TextClassifier.load(saved)


@pytest.mark.parametrize("name", ["model.keras", "text_pipeline.json", "vocabulary.txt"])
def test_file_that_is_cut_off_is_an_error_that_names_it(saved, name):
    os.truncate(saved / name, (saved / name).stat().st_size // 2)
    with pytest.raises(ValueError, match=name):
        TextClassifier.load(saved)


def test_damaged_model_is_an_error_that_names_it(saved):
    """A changed byte once came out as zipfile.BadZipFile."""
    content = bytearray((saved / "model.keras").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (saved / "model.keras").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.keras cannot be loaded as a model: Bad CRC"):
        TextClassifier.load(saved)


def test_model_of_another_number_of_classes_is_an_error(classifier):
    other = make_classifier(["a", "b"])
    with pytest.raises(ValueError, match="2 classes, but the pipeline has 3 labels"):
        TextClassifier(other.model, classifier.pipeline)


def test_any_functional_model_will_do(classifier):
    inputs = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(len(classifier.pipeline.vocabulary), 3)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(embedded))
    assert len(TextClassifier(model, classifier.pipeline).predict(TEXTS)) == len(TEXTS)
