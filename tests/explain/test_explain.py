"""Explanations: against exact answers, and their properties on a trained classifier."""

import html.parser
import re

import keras
import numpy as np
import pytest
from keras import ops
from small_classifier import LABELS, TEXTS, make_classifier

from kerasllm.explain import (
    Attribution,
    attention_attribution,
    attention_rollout,
    collect_attentions,
    explain_text,
    integrated_gradients,
    occlusion,
    to_html,
    to_terminal,
)

TEXT = "房间很干净，但是服务太差了"
IDS = np.array([3, 5, 4, 7, 7, 2])


def make_bag_model(num_ids=9, num_classes=3, several=False):
    """Logits that are linear in the embeddings: the sum of a row for each token."""
    keras.utils.set_random_seed(1)
    ids = keras.Input((None,), dtype="int32")
    layers = [
        keras.layers.Embedding(num_ids, num_classes, "normal", name=name)
        for name in (("words", "others") if several else ("words",))
    ]
    logits = ops.sum(sum(layer(ids) for layer in layers), axis=1)
    return keras.Model(ids, logits)


def test_linear_model_is_explained_exactly():
    model = make_bag_model()
    table = np.array(model.weights[0])
    found = integrated_gradients(model, IDS, target=1)
    np.testing.assert_allclose(found.scores, table[IDS, 1], rtol=1e-5)
    assert found.output == pytest.approx(table[IDS, 1].sum(), rel=1e-5)
    assert found.baseline_output == 0.0
    found = integrated_gradients(model, IDS, target=2, baseline=8)
    np.testing.assert_allclose(found.scores, table[IDS, 2] - table[8, 2], rtol=1e-5)
    found = occlusion(model, IDS, target=2, replacement=8, output="logit")
    np.testing.assert_allclose(found.scores, table[IDS, 2] - table[8, 2], rtol=1e-4, atol=1e-7)


def test_windows_share_what_they_hide():
    model = make_bag_model()
    values = np.array(model.weights[0])[IDS, 0] - np.array(model.weights[0])[1, 0]
    found = occlusion(model, IDS, target=0, window=2, output="logit")
    pairs = values[:-1] + values[1:]
    expected = [pairs[0], *((pairs[:-1] + pairs[1:]) / 2), pairs[-1]]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-4)


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("baseline", [None, 1])
@pytest.mark.parametrize("target", [0, 2])
def test_integrated_gradients_are_complete_for_the_lstm(output, baseline, target):
    """Through a bidirectional LSTM on the fused op, with max pooling and a mask."""
    classifier = make_classifier()
    (ids,) = classifier.pipeline.encode([TEXT])
    logits = classifier.model.predict(np.array([ids]), verbose=0)
    for tolerance in (0.05, 0.002):
        found = integrated_gradients(
            classifier.model, ids, target, baseline, output, steps=4, tolerance=tolerance
        )
        difference = found.output - found.baseline_output
        assert found.completeness_gap <= tolerance * max(1, abs(difference))
        assert found.scores.sum() == pytest.approx(difference, abs=tolerance * 10)
    expected = logits if output == "logit" else np.array(ops.softmax(logits))
    assert found.output == pytest.approx(expected[0, target], abs=1e-5)


def test_gradients_are_those_of_finite_differences():
    """One step at the middle of the path is the gradient there, times the path."""
    classifier = make_classifier()
    model = classifier.model
    ids = np.array([29, 27, 26, 19, 2, 1, 10, 9, 23, 3])  # so that a row is one position's
    found = integrated_gradients(model, ids, 0, steps=1, tolerance=1e9, max_steps=1)
    table = model.get_layer("embedding").embeddings
    before = np.array(table)
    expected = []
    for token_id in ids:
        outputs = []
        for step in (0.49, 0.51):  # along this token's vector, all others half-way
            moved = before / 2
            moved[token_id] = before[token_id] * step
            table.assign(moved)
            outputs.append(float(model(ids[None])[0, 0]))
        expected.append((outputs[1] - outputs[0]) / 0.02)
    table.assign(before)
    np.testing.assert_allclose(found.scores, expected, rtol=0.02, atol=0.01)


def test_padding_gets_nothing_and_changes_nothing():
    classifier = make_classifier()
    (ids,) = classifier.pipeline.encode([TEXT])
    plain = integrated_gradients(classifier.model, ids, 1).scores
    padded = integrated_gradients(classifier.model, [*ids, 0, 0, 0], 1).scores
    np.testing.assert_allclose(padded[: len(ids)], plain, atol=1e-5)
    np.testing.assert_array_equal(padded[len(ids) :], 0)


def test_methods_leave_the_model_as_it_was():
    classifier = make_classifier()
    before = classifier.probabilities(TEXTS)
    for method in ("integrated_gradients", "occlusion"):
        explain_text(classifier, TEXT, method=method)
    np.testing.assert_array_equal(classifier.probabilities(TEXTS), before)
    assert "call" not in vars(classifier.model.get_layer("embedding"))


def test_mixed_precision_models_are_explained_too():
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(9, 4, dtype="mixed_bfloat16")(ids)
    x = keras.layers.GlobalAveragePooling1D(dtype="mixed_bfloat16")(x)
    model = keras.Model(ids, keras.layers.Dense(2, dtype="float32")(x))
    found = integrated_gradients(model, IDS, 1, tolerance=0.05)
    assert found.scores.shape == (6,)


def test_tolerance_that_cannot_be_met_is_an_error():
    classifier = make_classifier()
    (ids,) = classifier.pipeline.encode([TEXT])
    with pytest.raises(ValueError, match=r"With 2 steps .*Allow more steps"):
        integrated_gradients(classifier.model, ids, 0, steps=1, max_steps=2, tolerance=1e-9)


def test_one_text_is_explained_in_its_words():
    classifier = make_classifier()
    ((label, probability),) = classifier.predict([TEXT])
    for method in ("integrated_gradients", "occlusion"):
        found = explain_text(classifier, TEXT, method=method, output="probability")
        assert found.label == label
        assert found.output == pytest.approx(probability, abs=1e-5)
        assert "".join(found.tokens) == "房间很干净,[UNK][UNK]服务太[UNK]了"
        assert len(found.tokens) == len(found.scores) == 13
    other = next(name for name in LABELS if name != label)
    assert explain_text(classifier, TEXT, other).label == other


def rollout_by_hand(attentions):
    """Abnar & Zuidema's equations with one loop for each index."""
    time = len(attentions[0][0])
    rolled = np.eye(time)
    for heads in attentions:
        mixed = np.zeros((time, time))
        for i in range(time):
            for j in range(time):
                mixed[i, j] = 0.5 * np.mean([head[i][j] for head in heads]) + 0.5 * (i == j)
        rolled = np.array([[sum(m * r for m, r in zip(row, rolled[:, j], strict=True))
                            for j in range(time)] for row in mixed])  # fmt: skip
    return rolled


def make_attentions(layers=3, heads=2, time=5):
    scores = np.random.default_rng(0).random((layers, heads, time, time))
    return scores / scores.sum(axis=-1, keepdims=True)


def test_rollout_is_that_of_the_paper():
    attentions = make_attentions()
    rolled = attention_rollout(attentions)
    np.testing.assert_allclose(rolled, rollout_by_hand(attentions), rtol=1e-12)
    np.testing.assert_allclose(rolled.sum(axis=1), 1)
    np.testing.assert_array_equal(attention_rollout(attentions, residual=1.0), np.eye(5))


def make_transformer():
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(9, 8, name="words")(ids)
    tokens = ops.expand_dims(ops.not_equal(ids, 0), axis=1)  # (batch, 1, time)
    for _ in range(2):
        x = x + keras.layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x, attention_mask=tokens)
    return keras.Model(ids, keras.layers.Dense(3)(x[:, 0]))


def test_attentions_are_collected_from_keras_layers():
    model = make_transformer()
    before = np.array(model(IDS[None]))
    attentions = collect_attentions(model, IDS[None])
    assert [attention.shape for attention in attentions] == [(2, 6, 6)] * 2
    x = model.get_layer("words")(IDS[None])
    layer = next(each for each in model.layers if isinstance(each, keras.layers.MultiHeadAttention))
    _, scores = layer(x, x, return_attention_scores=True)
    np.testing.assert_allclose(attentions[0], np.array(scores)[0], rtol=1e-6)
    np.testing.assert_array_equal(np.array(model(IDS[None])), before)
    found = attention_attribution(model, IDS)
    np.testing.assert_allclose(found.scores, attention_rollout(attentions)[0])
    mean = attention_attribution(model, IDS, position=None)
    np.testing.assert_allclose(mean.scores, attention_rollout(attentions).mean(axis=0))


def test_padding_draws_no_attention():
    padded = np.array([3, 5, 4, 0, 0])
    assert attention_attribution(make_transformer(), padded).scores[3:].max() < 1e-6


def test_attentions_may_come_from_a_function():
    attentions = make_attentions(time=6)
    found = attention_attribution(None, IDS, attentions=lambda model, ids: list(attentions))
    np.testing.assert_allclose(found.scores, attention_rollout(attentions)[0])


class Reader(html.parser.HTMLParser):
    """Collects the text, and the background and the score of each token."""

    def __init__(self, page):
        super().__init__()
        self.text, self.backgrounds, self.scores = "", [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "span":
            rgb = re.search(r"background:rgb\((\d+), (\d+), (\d+)\)", attributes["style"])
            self.backgrounds.append(tuple(map(int, rgb.groups())))
            self.scores.append(float(attributes["title"]))

    def handle_data(self, data):
        self.text += data


def test_html_shows_the_text_with_red_for_and_blue_against():
    page = Reader(to_html(["很", "差", "<b>", "&"], [0.0, -2.0, 2.0, 1.0], title="好评 0.9"))
    assert page.text == "好评 0.9 很差<b>&"
    white, blue, red, pink = page.backgrounds
    assert white == (255, 255, 255)
    assert blue[2] > blue[0] and red[0] > red[2] and pink[0] > pink[2]
    assert sum(pink) > sum(red)
    assert page.scores == [0, -2, 2, 1]


def test_terminal_shows_the_text_in_colours():
    shown = to_terminal(["很", "差\n"], [1.0, -1.0], title="差评")
    assert shown.count("\x1b[48;2;") == 2 and shown.endswith("\x1b[0m")
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "差评 很差\\n"


def test_blanks_stand_between_latin_words_only():
    page = Reader(to_html(["iPhone", "15", "很", "好", "good", "value"], np.ones(6)))
    assert page.text == "iPhone 15很好good value"


@pytest.mark.parametrize("scores", [[], [0.0, 0.0], [float("nan"), 1.0]])
def test_texts_without_colours_are_drawn(scores):
    tokens = ["好"] * len(scores)
    assert Reader(to_html(tokens, scores)).text == "".join(tokens)
    to_terminal(tokens, scores)


def test_attribution_draws_itself():
    found = Attribution(["好"], np.ones(1), "好评", 0.93, 0.5)
    assert found.completeness_gap == pytest.approx(0.57)
    assert Reader(found.to_html()).text == "好评 0.93 好"
    assert found._repr_html_() == found.to_html()
    assert "好评 0.93" in found.to_terminal()
    assert Attribution(["好"], np.ones(1)).completeness_gap is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: integrated_gradients(m, [[1, 2], [3, 4]]), "expected the ids of one text"),
        (lambda m: integrated_gradients(m, []), "expected the ids of one text"),
        (lambda m: integrated_gradients(m, [0.5]), "expected the ids of one text"),
        (lambda m: integrated_gradients(m, IDS, output="loss"), "output is 'loss'"),
        (lambda m: integrated_gradients(m, IDS, layer="x"), "one layer 'x', but has 0"),
        (lambda m: integrated_gradients(make_bag_model(several=True), IDS), "words, others"),
        (lambda m: occlusion(m, IDS, window=7), "window is 7; expected 1 to the text's 6"),
        (lambda m: attention_attribution(m, IDS), "no attention layer that gives its weights"),
        (lambda m: attention_rollout([]), r"expected \(heads, time, time\)"),
        (lambda m: attention_rollout([np.ones((2, 3, 4))]), r"expected \(heads, time, time\)"),
        (lambda m: to_html(["a"], [1, 2]), "There are 1 tokens, but 2 scores"),
        (lambda m: explain_text(make_classifier(), "好", method="lime"), "method is 'lime'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(make_bag_model())
