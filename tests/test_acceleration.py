"""kerasllm.accelerate on Keras models and on a KerasHub BERT."""

import keras
import numpy as np
import pytest

import kerasllm
from kerasllm import native

pytestmark = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")


def make_model():
    keras.utils.set_random_seed(0)
    token_ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(50, 16, mask_zero=True)(token_ids)
    attended = keras.layers.MultiHeadAttention(4, 4)(x, x)
    x = keras.layers.LayerNormalization()(keras.layers.Add()([x, attended]))
    x = keras.layers.Dropout(0.1)(x)
    x = keras.layers.Bidirectional(keras.layers.LSTM(8, return_sequences=True))(x)
    x = keras.layers.LSTM(8, activation="relu")(x)
    x = keras.layers.Dense(16, activation="gelu")(x)
    x = keras.layers.RMSNormalization()(x)
    return keras.Model(token_ids, keras.layers.Dense(3)(x))


def make_rows():
    token_ids = np.random.default_rng(0).integers(1, 50, (4, 9)).astype("int32")
    token_ids[1, 5:] = 0
    return token_ids


def classes(model):
    return [type(layer) for layer in model._flatten_layers()]


def test_results_and_weights_stay_and_undo_puts_all_back():
    model, token_ids = make_model(), make_rows()
    before, weights, original = model.predict(token_ids, verbose=0), model.weights, classes(model)
    kerasllm.accelerate(model)
    assert classes(model) != original
    np.testing.assert_allclose(model.predict(token_ids, verbose=0), before, atol=1e-5)
    assert all(mine is other for mine, other in zip(model.weights, weights, strict=True))
    kerasllm.accelerate(model, undo=True)
    assert classes(model) == original
    np.testing.assert_array_equal(model.predict(token_ids, verbose=0), before)


def test_the_table_says_what_was_replaced_and_what_was_left_and_why():
    report = kerasllm.accelerate(make_model())
    rows = {row.path.split("/", 1)[-1]: row for row in report}
    replaced = {row.layer for row in report if row.replaced}
    assert replaced >= {
        "Embedding",
        "LayerNormalization",
        "MultiHeadAttention",
        "Dropout",
        "LSTM",
        "Dense",
        "RMSNormalization",
    }
    left = [row for row in report if row.layer == "LSTM" and not row.replaced]
    assert len(left) == 1 and "activation" in left[0].reason
    assert len(rows) == len(report)
    text = str(report)
    assert f"{report.num_replaced} of {len(report)} layers replaced" in text
    assert "left: " in text and "replaced" in text


def test_it_goes_on_training_with_the_same_optimizer():
    model, token_ids = make_model(), make_rows()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    labels = np.array([0, 1, 2, 0])
    model.fit(token_ids, labels, verbose=0)
    kerasllm.accelerate(model)
    model.fit(token_ids, labels, verbose=0)
    assert int(model.optimizer.iterations) == 2


def test_a_second_time_changes_nothing_more():
    model = make_model()
    first = kerasllm.accelerate(model)
    assert kerasllm.accelerate(model).num_replaced == first.num_replaced


def test_a_saved_model_names_the_fused_classes(tmp_path):
    model, token_ids = make_model(), make_rows()
    kerasllm.accelerate(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert kerasllm.layers.MultiHeadAttention in classes(loaded)
    np.testing.assert_array_equal(
        loaded.predict(token_ids, verbose=0), model.predict(token_ids, verbose=0)
    )


def test_subclasses_and_other_dtypes_are_left():
    class Doubling(keras.layers.Dense):
        def call(self, inputs):
            return 2 * super().call(inputs)

    model = keras.Sequential(
        [keras.Input((4,)), Doubling(3), keras.layers.Dense(2, "gelu", dtype="float64")]
    )
    report = kerasllm.accelerate(model)
    assert report.num_replaced == 0
    assert "subclass of Dense" in report[0].reason and "float64" in report[1].reason


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="Expected a Keras model or layer, but got str"):
        kerasllm.accelerate("model")


@pytest.mark.filterwarnings("default")
def test_a_keras_hub_bert_gives_the_same_within_1e_5():
    keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=100,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=64,
        max_sequence_length=24,
    )
    random = np.random.default_rng(1)
    inputs = {
        "token_ids": random.integers(0, 100, (3, 20)),
        "segment_ids": random.integers(0, 2, (3, 20)),
        "padding_mask": np.arange(20) < np.array([[20], [7], [1]]),
    }
    before = backbone.predict(inputs, verbose=0)
    report = kerasllm.accelerate(backbone)
    after = backbone.predict(inputs, verbose=0)
    assert {row.layer for row in report if row.replaced} >= {
        "MultiHeadAttention",
        "LayerNormalization",
    }
    counting = inputs["padding_mask"][..., None]
    for name in before:
        weight = counting if before[name].ndim == 3 else 1
        np.testing.assert_allclose(after[name] * weight, before[name] * weight, atol=1e-5)
