"""MacroF1 against scikit-learn and NumPy."""

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from kerasllm.metrics import MacroF1


def make_case(rows=103, num_classes=5, present=None, seed=0):
    """Labels, logits and weights; `present` names the classes that occur at all."""
    random = np.random.default_rng(seed)
    classes = np.arange(num_classes) if present is None else np.array(present)
    labels = random.choice(classes, rows)
    logits = random.normal(size=(rows, num_classes)).astype("float32")
    logits[:, np.setdiff1d(np.arange(num_classes), classes)] = -9
    logits[np.arange(rows), labels] += 1.0
    return labels, logits, random.random(rows).astype("float32")


def expected_f1(labels, logits, weights=None):
    num_classes = logits.shape[1]
    return f1_score(
        labels,
        logits.argmax(axis=1),
        labels=range(num_classes),
        average="macro",
        zero_division=0,
        sample_weight=weights,
    )


@pytest.mark.parametrize("num_classes", [2, 3, 14])
@pytest.mark.parametrize("weighted", [False, True])
def test_any_cut_into_batches_gives_scikit_learns_value(num_classes, weighted):
    labels, logits, weights = make_case(num_classes=num_classes, seed=num_classes)
    weights = weights if weighted else None
    for cuts in ([], [1, 2, 50, 97], range(7, 103, 7)):
        metric = MacroF1(num_classes)
        for rows in np.split(np.arange(len(labels)), cuts):
            metric.update_state(labels[rows], logits[rows], weights[rows] if weighted else None)
        assert float(metric.result()) == pytest.approx(
            expected_f1(labels, logits, weights), abs=1e-6
        )


@pytest.mark.parametrize("present", [[0], [2], [1, 3]])
def test_absent_classes_count_as_zero(present):
    labels, logits, _ = make_case(num_classes=4, present=present)
    metric = MacroF1(4)
    metric.update_state(labels, logits)
    expected = expected_f1(labels, logits)
    assert expected <= len(present) / 4
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def test_value_worked_out_by_hand():
    metric = MacroF1(3)
    # Class 0: 1 hit, 1 missed. Class 1: 1 hit, 1 too many. Class 2: never there.
    metric.update_state([0, 0, 1], np.eye(3)[[0, 1, 1]])
    assert float(metric.result()) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3, abs=1e-6)


def test_nothing_seen_is_zero_and_reset_forgets():
    metric = MacroF1(3)
    assert float(metric.result()) == 0.0
    metric.update_state([0, 1, 2], np.eye(3))
    assert float(metric.result()) == 1.0
    metric.reset_state()
    assert float(metric.result()) == 0.0
    metric.update_state([0], np.eye(3)[[1]])
    assert float(metric.result()) == 0.0


def test_labels_may_be_columns_of_any_number_type():
    labels, logits, weights = make_case()
    expected = expected_f1(labels, logits, weights)
    for convert in (
        lambda x: x[:, None],
        lambda x: x.astype("float32"),
        lambda x: x.astype("uint8")[:, None],
    ):
        metric = MacroF1(5)
        metric.update_state(convert(labels), logits, weights[:, None])
        assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def test_weights_of_zero_leave_rows_out():
    labels, logits, _ = make_case()
    metric = MacroF1(5)
    metric.update_state(labels, logits, np.arange(103) < 60)
    assert float(metric.result()) == pytest.approx(expected_f1(labels[:60], logits[:60]), abs=1e-6)


def test_keras_one_hot_f1_agrees():
    labels, logits, _ = make_case()
    theirs = keras.metrics.F1Score(average="macro")
    theirs.update_state(np.eye(5)[labels], logits)
    ours = MacroF1(5)
    ours.update_state(labels, logits)
    assert float(ours.result()) == pytest.approx(float(theirs.result()), abs=1e-6)


def test_counts_stay_exact_in_low_precision_policies():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        labels, logits, _ = make_case(rows=3001)
        metric = MacroF1(5)
    finally:
        keras.config.set_dtype_policy(before)
    for rows in np.array_split(np.arange(3001), 40):
        metric.update_state(labels[rows], keras.ops.cast(logits[rows], "bfloat16"))
    rounded = np.array(keras.ops.cast(keras.ops.cast(logits, "bfloat16"), "float32"))
    assert float(metric.result()) == pytest.approx(expected_f1(labels, rounded), abs=1e-6)


@pytest.fixture(scope="module")
def fitted():
    """A small model after training, its data, and what fit logged."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(90, 6)).astype("float32"), random.integers(0, 3, 90)
    x[np.arange(90), y] += 1
    weights = random.random(90).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[MacroF1(3)], weighted_metrics=[MacroF1(3, name="weighted")])
    data = {"validation_data": (x[60:], y[60:], weights[60:])}
    history = model.fit(
        x[:60], y[:60], sample_weight=weights[:60], batch_size=32, verbose=0, **data
    )
    return model, x[60:], y[60:], weights[60:], history.history


def test_fit_and_evaluate_log_it_weighted_and_not(fitted):
    model, x, y, weights, history = fitted
    logits = model.predict(x, verbose=0)
    found = model.evaluate(x, y, sample_weight=weights, batch_size=7, verbose=0, return_dict=True)
    for name, expected in (
        ("macro_f1", expected_f1(y, logits)),
        ("weighted", expected_f1(y, logits, weights)),
    ):
        assert found[name] == pytest.approx(expected, abs=1e-6)
        assert history[f"val_{name}"][0] == pytest.approx(expected, abs=1e-6)
    assert found["macro_f1"] != pytest.approx(found["weighted"], abs=1e-4)


def test_saved_model_brings_it_back(fitted, tmp_path):
    model, x, y, weights, _ = fitted
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    scores = [
        m.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
        for m in (model, loaded)
    ]
    assert scores[0] == scores[1]


def test_config_round_trip():
    metric = MacroF1(7, name="f", dtype="float64")
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert twin.get_config() == metric.get_config()
    assert (twin.num_classes, twin.name, twin.dtype) == (7, "f", "float64")
    assert MacroF1(3).name == "macro_f1"
