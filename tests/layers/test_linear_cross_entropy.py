"""kerasllm.layers.LinearCrossEntropy against Dense and its loss; in models, saved and loaded."""

import keras
import numpy as np
import pytest

import kerasllm
from kerasllm.layers import LinearCrossEntropy

VOCABULARY, DIM, IGNORED = 50, 12, -100


class LanguageModel(keras.Model):
    """What the layer's docstring shows."""

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        losses, _ = y_pred
        count = keras.ops.sum(keras.ops.cast(x["labels"] != IGNORED, losses.dtype))
        return keras.ops.sum(losses) / keras.ops.maximum(count, 1)


def language_model(tied=True, dtype=None, mask_zero=False, model_class=LanguageModel, **options):
    keras.utils.set_random_seed(3)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    labels = keras.Input((None,), dtype="int32", name="labels")
    embedding = keras.layers.Embedding(VOCABULARY, DIM, mask_zero=mask_zero, dtype=dtype)
    lstm = kerasllm.layers.LSTM(DIM, return_sequences=True, dtype=dtype)
    hidden_states = lstm(embedding(token_ids))
    head = LinearCrossEntropy(
        VOCABULARY, tied_to=embedding if tied else None, dtype=dtype, name="head", **options
    )
    inputs = {"token_ids": token_ids, "labels": labels}
    return model_class(inputs, head(hidden_states, labels)), keras.Model(
        token_ids, head(hidden_states)
    )


def text(batch=32, time=9, seed=0):
    """Numbers that count up from a random one: to be learned in a few steps."""
    first = np.random.default_rng(seed).integers(1, VOCABULARY, (batch, 1))
    token_ids = (first + np.arange(time + 1)) % (VOCABULARY - 1) + 1
    labels = token_ids[:, 1:].astype("int32")
    labels[::2, ::3] = IGNORED
    return {"token_ids": token_ids[:, :-1].astype("int32"), "labels": labels}


def built_layer(**options):
    layer = LinearCrossEntropy(VOCABULARY, **options)
    layer.build((None, None, DIM))
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(size=w.shape) for w in layer.weights])
    return layer


def hidden_states(batch=4, time=7):
    return np.random.default_rng(2).normal(size=(batch, time, DIM)).astype("float32")


@pytest.mark.parametrize("use_bias", [False, True])
def test_losses_are_those_of_dense_and_keras_loss(use_bias):
    layer = built_layer(use_bias=use_bias)
    dense = keras.layers.Dense(VOCABULARY, use_bias=use_bias)
    dense.build((None, None, DIM))
    kernel, *bias = layer.get_weights()
    dense.set_weights([kernel.T, *bias])
    x = hidden_states()
    labels = np.random.default_rng(3).integers(0, VOCABULARY, x.shape[:2])
    losses, correct = layer(x, labels)
    logits = dense(x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    np.testing.assert_allclose(losses, loss(labels, logits), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(correct, np.argmax(logits, axis=-1) == labels)
    np.testing.assert_allclose(layer(x), logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.logits(keras.ops.convert_to_tensor(x)), layer(x))


def test_positions_are_those_gathered_by_hand():
    layer, x = built_layer(), hidden_states()
    positions = np.array([[0, 3], [6, 6], [2, 0], [5, 1]])
    labels = np.array([[4, 7], [1, 2], [9, IGNORED], [3, 3]])
    losses, correct = layer(x, labels, positions=positions)
    gathered = np.take_along_axis(x, positions[..., None], axis=1)
    expected, expected_correct = layer(gathered, labels)
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(correct, expected_correct)
    assert losses.shape == (4, 2) and losses[2, 1] == 0 and not correct[2, 1]


def test_a_mask_ignores_positions():
    layer, x = built_layer(), hidden_states()
    labels = np.ones(x.shape[:2], "int32")
    mask = np.random.default_rng(4).random(labels.shape) < 0.5
    losses, _ = layer(x, labels, hidden_states_mask=mask)
    expected, _ = layer(x, np.where(mask, labels, IGNORED))
    np.testing.assert_array_equal(losses, expected)
    assert (np.array(losses)[~mask] == 0).all() and np.any(losses)


def test_the_mask_of_an_embedding_arrives():
    model, _ = language_model(mask_zero=True)
    inputs = text()
    inputs["token_ids"][:, 6:] = 0
    losses, _ = model.predict(inputs, verbose=0)
    assert (losses[:, 6:] == 0).all() and np.any(losses[:, :6])


@pytest.mark.parametrize(
    ("tied", "dtype", "jit_compile"),
    [
        (True, "float32", False),
        (True, "float32", True),
        (True, "mixed_bfloat16", False),
        (False, "mixed_bfloat16", True),
        (False, "float64", False),
    ],
)
def test_fit_learns(tied, dtype, jit_compile):
    model, predictor = language_model(tied, dtype, label_smoothing=0.05, z_loss=1e-4)
    assert len(model.trainable_weights) == (5 if tied else 6)
    model.compile(keras.optimizers.Adam(0.05), jit_compile=jit_compile)
    inputs = text()
    history = model.fit(inputs, epochs=25, verbose=0).history["loss"]
    assert np.isfinite(history).all() and history[-1] < 0.5 * history[0]
    evaluated = model.evaluate(inputs, verbose=0)
    assert evaluated < history[-1]
    # What was trained is what predicts.
    logits = predictor.predict(inputs["token_ids"], verbose=0)
    counts = inputs["labels"] != IGNORED
    _, correct = model.predict(inputs, verbose=0)
    accuracy = (logits.argmax(-1) == inputs["labels"])[counts].mean()
    assert accuracy > 0.5 and abs(accuracy - correct[counts].mean()) < 0.05


def test_tied_training_is_that_of_dense_and_keras_loss():
    inputs = text()
    model, predictor = language_model(use_bias=False)
    model.compile(keras.optimizers.SGD(1.0))
    history = model.fit(inputs, epochs=3, verbose=0, batch_size=32).history["loss"]

    class Stock(keras.Model):
        def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
            logits = y_pred
            counts = x["labels"] != IGNORED
            losses = keras.losses.sparse_categorical_crossentropy(
                keras.ops.where(counts, x["labels"], 0), logits, from_logits=True
            )
            counts = keras.ops.cast(counts, "float32")
            return keras.ops.sum(losses * counts) / keras.ops.sum(counts)

    _, twin = language_model(use_bias=False)
    labels = keras.Input((None,), dtype="int32", name="labels")
    stock = Stock({"token_ids": twin.inputs[0], "labels": labels}, twin.outputs[0])
    stock.compile(keras.optimizers.SGD(1.0))
    expected = stock.fit(inputs, epochs=3, verbose=0, batch_size=32).history["loss"]
    np.testing.assert_allclose(history, expected, rtol=1e-5)
    for mine, other in zip(predictor.weights, twin.weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_saves_and_loads_with_the_tie(tied, tmp_path):
    keras.saving.register_keras_serializable("tests")(LanguageModel)
    model, predictor = language_model(tied, label_smoothing=0.1, z_loss=0.01)
    model.compile("adam")
    inputs = text()
    model.fit(inputs, verbose=0)
    for which, arguments in ((model, inputs), (predictor, inputs["token_ids"])):
        which.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert len(loaded.weights) == len(which.weights)
        configs = [m.get_layer("head").get_config() for m in (loaded, which)]
        ties = [config.pop("tied_to") for config in configs]
        assert configs[0] == configs[1] and (ties[0] is None) == (ties[1] is None) == (not tied)
        expected = which.predict(arguments, verbose=0)
        found = loaded.predict(arguments, verbose=0)
        for mine, other in zip(
            keras.tree.flatten(found), keras.tree.flatten(expected), strict=True
        ):
            np.testing.assert_array_equal(mine, other)
        if tied:
            head = loaded.get_layer("head")
            assert head.tied_to is loaded.get_layer(head.tied_to.name)
    loaded.compile("adam")


def test_the_bias_stays_float32_under_mixed_precision():
    layer = built_layer(dtype="mixed_bfloat16")
    x = hidden_states()
    losses, _ = layer(x, np.ones(x.shape[:2], "int32"))
    assert keras.backend.standardize_dtype(layer.bias.dtype) == "float32"
    assert keras.backend.standardize_dtype(losses.dtype) == "float32"
    assert keras.backend.standardize_dtype(layer(x).dtype) == "bfloat16"


def test_embeddings_of_another_size_are_refused():
    embedding = keras.layers.Embedding(VOCABULARY + 1, DIM)
    layer = LinearCrossEntropy(VOCABULARY, tied_to=embedding)
    with pytest.raises(ValueError, match="has no embeddings yet"):
        layer.build((None, None, DIM))
    embedding.build()
    with pytest.raises(ValueError, match=r"shape \(51, 12\), expected .* \(50, 12\)"):
        LinearCrossEntropy(VOCABULARY, tied_to=embedding).build((None, None, DIM))


def test_exports_as_saved_model(tmp_path):
    import tensorflow as tf

    _, predictor = language_model()
    token_ids = text()["token_ids"]
    predictor.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(loaded.serve(token_ids), predictor(token_ids), rtol=1e-6)
