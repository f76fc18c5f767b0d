"""Every metric in fit and evaluate, compiled, distributed, saved and loaded."""

import keras
import numpy as np
import pytest
from metrics.cases import make_case
from processes import run_python

from kerasllm import metrics

NAMES = ["差评", "中评", "好评"]


def make_metrics():
    return [
        metrics.MacroF1(3),
        metrics.FBeta(3, 2.0, "weighted", ignore_class=1),
        metrics.ClassPrecision(3, class_names=NAMES),
        metrics.ClassRecall(3, "macro", name="balanced_accuracy"),
        metrics.ConfusionMatrix(3),
        metrics.OneVsRestAUC(3),
        metrics.OneVsRestAUC(3, "pr", average=None, class_names=NAMES),
        metrics.ExpectedCalibrationError(),
        metrics.TokenAccuracy(2),
        metrics.Perplexity(),
    ]


def by_hand(labels, logits, weights=None):
    """The values that evaluate should log, from one batch."""
    values = {}
    for metric in make_metrics():
        metric.update_state(labels, logits, weights)
        result = metric.result()
        values.update(result if isinstance(result, dict) else {metric.name: result})
    return values


@pytest.fixture(scope="module")
def fitted():
    labels, inputs, weights = make_case(rows=97, num_classes=3)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, weighted_metrics=make_metrics())
    model.fit(inputs, labels, sample_weight=weights, batch_size=32, verbose=0)
    return model, inputs, labels, weights


@pytest.mark.parametrize("jit_compile", [False, True])
def test_evaluate_logs_them_whatever_the_batches(fitted, jit_compile):
    model, inputs, labels, weights = fitted
    expected = by_hand(labels, model.predict(inputs, verbose=0), weights)
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.compile("sgd", model.loss, weighted_metrics=make_metrics(), jit_compile=jit_compile)
    found = twin.evaluate(
        inputs, labels, sample_weight=weights, batch_size=13, verbose=0, return_dict=True
    )
    assert set(expected) == set(found) - {"loss"}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=2e-4, err_msg=name)


def test_saved_model_brings_them_back(fitted, tmp_path):
    model, inputs, labels, weights = fitted
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    scores = [
        m.evaluate(inputs, labels, sample_weight=weights, verbose=0, return_dict=True)
        for m in (model, loaded)
    ]
    keras.tree.map_structure(np.testing.assert_array_equal, *scores)


@pytest.mark.parametrize("metric", make_metrics(), ids=lambda metric: metric.name)
def test_config_round_trip(metric):
    serialized = keras.saving.serialize_keras_object(metric)
    twin = keras.saving.deserialize_keras_object(serialized)
    assert type(twin) is type(metric)
    assert twin.get_config() == metric.get_config()
    assert [v.shape for v in twin.variables] == [v.shape for v in metric.variables]


@pytest.mark.parametrize("metric", make_metrics(), ids=lambda metric: metric.name)
def test_reset_forgets(metric):
    labels, logits, _ = make_case(num_classes=3)
    empty = metric.result()
    metric.update_state(labels, logits)
    metric.reset_state()
    keras.tree.map_structure(np.testing.assert_array_equal, metric.result(), empty)


def test_sums_stay_exact_in_low_precision_policies():
    labels, logits, _ = make_case(rows=2000, num_classes=3)
    logits = keras.ops.cast(logits, "bfloat16")
    expected = by_hand(labels, np.array(keras.ops.cast(logits, "float32")))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = by_hand(labels, logits)
    finally:
        keras.config.set_dtype_policy(before)
    keras.tree.map_structure(np.testing.assert_array_equal, found, expected)


DISTRIBUTED = """
import json, sys
import keras
import numpy as np
import tensorflow as tf
sys.path[:0] = sys.argv[2:]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from metrics.cases import make_case
from metrics.test_metrics_in_keras import by_hand, make_metrics

labels, inputs, weights = make_case(rows=96, num_classes=3)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, weighted_metrics=make_metrics())
data = tf.data.Dataset.from_tensor_slices((inputs, labels, weights)).batch(32)
history = model.fit(data, validation_data=data, epochs=2, verbose=0).history
expected = by_hand(labels, inputs @ np.array(model.weights[0]), weights)
for name, value in expected.items():
    for logged in (*history[name], *history[f"val_{name}"]):
        np.testing.assert_allclose(logged, value, rtol=1e-5, atol=3e-4, err_msg=name)
print(len(expected), "metrics agree")
"""


def test_two_replicas_give_the_values_of_one():
    """A process of its own, as devices are set up before TensorFlow starts."""
    import pathlib

    tests = pathlib.Path(__file__).resolve().parents[1]
    finished = run_python("-c", DISTRIBUTED, "unused", tests)
    assert "14 metrics agree" in finished.stdout
