"""The BERT models as Keras models; their numbers are compared with transformers' in
test_bert_against_transformers.py."""

import keras
import model_checks
import numpy as np
import pytest

from kerasllm.models import (
    BERT_PRESETS,
    BertBackbone,
    BertClassifier,
    BertMaskedLM,
    BertTokenClassifier,
)
from kerasllm.ops.gelu import gelu_tanh

VOCABULARY_SIZE, NUM_CLASSES, MAX_LENGTH = 30, 4, 20
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "feed_forward_dim": 20}


def make_backbone(dtype=None, **options):
    keras.utils.set_random_seed(1)
    sizes = {**SIZES, "max_length": MAX_LENGTH, "dropout": 0.0}
    return BertBackbone(VOCABULARY_SIZE, dtype=dtype, **sizes | options)


def make_inputs(count=8, time=11):
    random = np.random.default_rng(5)
    token_ids = random.integers(1, VOCABULARY_SIZE, (count, time)).astype("int32")
    lengths = random.integers(1, time + 1, count)
    lengths[:2] = 1, time
    mask = np.arange(time) < lengths[:, None]
    token_ids[~mask] = 0
    segment_ids = random.integers(0, 2, (count, time)).astype("int32") * mask
    inputs = {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": mask}
    return inputs, random.integers(0, NUM_CLASSES, count)


def test_a_classifier_stands_all_checks_of_a_model(tmp_path):
    dim, hidden = SIZES["hidden_dim"], SIZES["feed_forward_dim"]
    block = 4 * (dim * dim + dim) + 2 * dim * hidden + hidden + dim + 4 * dim
    tables = (VOCABULARY_SIZE + MAX_LENGTH + 2) * dim
    model_checks.check_model(
        lambda dtype: BertClassifier(make_backbone(dtype), NUM_CLASSES),
        *make_inputs(),
        num_weights=3 + 2 + 2 * 16 + 2 + 2,
        num_parameters=tables + 2 * dim + 2 * block + dim * dim + dim + (dim + 1) * NUM_CLASSES,
        folder=tmp_path,
    )


def test_an_albert_stands_all_checks_of_a_model(tmp_path):
    options = {"embedding_dim": 6, "share_blocks": True, "activation": gelu_tanh}
    dim, hidden = SIZES["hidden_dim"], SIZES["feed_forward_dim"]
    block = 4 * (dim * dim + dim) + 2 * dim * hidden + hidden + dim + 4 * dim
    tables = (VOCABULARY_SIZE + MAX_LENGTH + 2) * 6
    model_checks.check_model(
        lambda dtype: BertClassifier(make_backbone(dtype, **options), NUM_CLASSES),
        *make_inputs(),
        num_weights=3 + 2 + 2 + 16 + 2 + 2,
        num_parameters=tables + 12 + 7 * dim + block + dim * dim + dim + (dim + 1) * NUM_CLASSES,
        folder=tmp_path,
        fresh_process=False,
    )


def test_token_ids_alone_are_enough():
    model = BertClassifier(make_backbone(), NUM_CLASSES)
    inputs, _ = make_inputs()
    inputs["segment_ids"] *= 0
    expected = np.array(model(inputs))
    np.testing.assert_array_equal(np.array(model({"token_ids": inputs["token_ids"]})), expected)
    np.testing.assert_array_equal(np.array(model(inputs["token_ids"])), expected)
    predicted = model.predict(inputs["token_ids"], verbose=0)
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


def test_segments_count_where_there_are_any():
    inputs, _ = make_inputs()
    others = inputs | {"segment_ids": 1 - inputs["segment_ids"]}
    for num_segments, same in ((2, False), (None, True)):
        model = make_backbone(num_segments=num_segments)
        states = [np.array(model(each)["sequence_output"]) for each in (inputs, others)]
        assert np.array_equal(*states) is same


def test_inputs_without_token_ids_are_refused():
    with pytest.raises(ValueError, match="The inputs lack token_ids; they have input_ids"):
        make_backbone()({"input_ids": np.ones((1, 3))})


def test_without_a_pooler_the_pooled_output_is_the_first_state():
    outputs = make_backbone(pooler_activation=None)(make_inputs()[0])
    np.testing.assert_array_equal(outputs["pooled_output"], outputs["sequence_output"][:, 0])


def test_padding_of_a_token_classifier_has_no_part_in_loss_or_metric():
    model = BertTokenClassifier(make_backbone(pooler_activation=None), NUM_CLASSES)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"])
    inputs, _ = make_inputs()
    tags = np.random.default_rng(1).integers(0, NUM_CLASSES, inputs["token_ids"].shape)
    logits = model.predict(inputs, verbose=0)
    counts = inputs["padding_mask"]
    found = model.evaluate(inputs, tags, verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx((logits.argmax(-1) == tags)[counts].mean())
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(log_probabilities, tags[..., None], -1)[..., 0]
    # Keras scales a masked loss by the share of what counts, which is a mean over it.
    assert found["loss"] == pytest.approx(losses[counts].mean(), rel=1e-5)


def make_masked_lm(dtype=None, **options):
    return BertMaskedLM(make_backbone(dtype, pooler_activation=None, **options))


@pytest.mark.parametrize("embedding_dim", [None, 6])
def test_losses_of_a_masked_lm_are_those_of_its_logits(embedding_dim):
    model = make_masked_lm(embedding_dim=embedding_dim)
    inputs, _ = make_inputs()
    labels = np.random.default_rng(1).integers(0, VOCABULARY_SIZE, inputs["token_ids"].shape)
    labels[:, 3] = -100
    logits = np.array(model(inputs), "float64")
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    counts = inputs["padding_mask"] & (labels != -100)
    expected = -np.take_along_axis(log_probabilities, np.maximum(labels, 0)[..., None], -1)[..., 0]
    losses, correct = (np.array(each) for each in model({**inputs, "labels": labels}))
    np.testing.assert_allclose(losses, np.where(counts, expected, 0), atol=1e-5)
    np.testing.assert_array_equal(correct, counts & (logits.argmax(-1) == labels))
    model.compile()
    found = model.evaluate({**inputs, "labels": labels}, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected[counts].mean(), rel=1e-5)
    assert found["masked_accuracy"] == pytest.approx(correct[counts].mean())
    positions = np.array([[4, 2], [10, 3]] * 4)
    some = np.array(model({**inputs, "mask_positions": positions}))
    np.testing.assert_allclose(some, np.take_along_axis(logits, positions[..., None], 1), atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_masked_lm_learns_and_is_saved(policy, tmp_path):
    model = make_masked_lm(policy)
    model.compile(keras.optimizers.Adam(0.01))
    inputs, _ = make_inputs()
    positions = np.array([[1, 2, 0]] * 8)
    labels = np.array([[3, 4, -100]] * 8)
    rows = {**inputs, "mask_positions": positions, "labels": labels}
    before = [np.array(weight) for weight in model.trainable_weights]
    history = model.fit(rows, epochs=30, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["masked_accuracy"][-1] > 0.9
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert not np.array_equal(np.array(weight), old), f"{weight.path} was not trained"
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    for mine, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.array(mine), np.array(theirs))
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)
    np.testing.assert_array_equal(
        loaded.predict(inputs, verbose=0), model.predict(inputs, verbose=0)
    )


def test_presets_are_the_published_shapes():
    # Parameters of bert-tiny without its masked language model's head, as published.
    assert BertBackbone.from_preset("tiny").count_params() == 4_385_920
    small = BertBackbone.from_preset("tiny", vocabulary_size=100, num_layers=1)
    assert (small.vocabulary_size, small.num_layers, small.hidden_dim) == (100, 1, 128)
    assert BERT_PRESETS["chinese_macbert_large"]["num_layers"] == 24
    with pytest.raises(ValueError, match="There is no BERT 'giant'; expected one of tiny, mini"):
        BertBackbone.from_preset("giant")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_backbone(num_heads=3), "hidden_dim is 8, which num_heads=3 does not divide"),
        (lambda: BertClassifier(make_backbone(), 1), "num_classes is 1; a classifier needs"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
