"""Puts a model through everything that every model here must stand.

A model's test calls `check_model`; the single checks are there for variants of it.
"""

import json

import keras
import numpy as np
from processes import run_python

# What a user's program does: the package is imported, no class of it is named.
LOAD_AND_PREDICT = """
import sys
import kerasllm
import keras
import numpy as np

folder = sys.argv[1]
model = keras.models.load_model(f"{folder}/model.keras")
inputs = dict(np.load(f"{folder}/inputs.npz"))
inputs = inputs.pop("the_only_input", inputs)
predictions = model.predict(inputs, verbose=0)
np.save(f"{folder}/predictions.npy", predictions)
"""


def check_model(
    make_model, inputs, labels, *, num_weights, num_parameters, folder, fresh_process=True
):
    """All checks of a model from token ids to logits.

    Args:
        make_model: A function of a dtype policy's name that makes the model, not compiled.
        inputs: ints `(batch, time)` with 0 for padding, or a dict of such.
        labels: ints, one for each row of logits.
        num_weights: The number of weight arrays that it should have.
        num_parameters: The number of values in them.
        folder: An empty folder.
        fresh_process: Whether another process is to load it too; of a model's variants one is
            enough, as that takes 7 seconds.
    """
    model = make_model("float32")
    assert len(model.weights) == num_weights
    assert model.count_params() == num_parameters
    check_config(model)
    check_calls(model, inputs)
    check_padding(model, inputs)
    check_policy(make_model, "mixed_bfloat16", inputs, labels)
    check_fit(model, inputs, labels)
    check_saving(model, inputs, folder)
    if fresh_process:
        check_fresh_process(model, inputs, folder)


def check_config(model):
    """The config is JSON, and makes the same model, by way of Keras's serialisation too."""
    config = model.get_config()
    assert json.loads(json.dumps(config)) == config
    serialized = keras.saving.serialize_keras_object(model)
    for twin in (
        type(model).from_config(config),
        keras.saving.deserialize_keras_object(serialized),
    ):
        assert type(twin) is type(model)
        assert twin.get_config() == config
        assert [w.shape for w in twin.weights] == [w.shape for w in model.weights]
        assert [w.dtype for w in twin.weights] == [w.dtype for w in model.weights]
        assert [w.name for w in twin.weights] == [w.name for w in model.weights]
        assert twin.dtype_policy == model.dtype_policy


def check_calls(model, inputs):
    """Symbolic, eager and compiled calls agree, and the logits are float32."""
    eager = model(inputs)
    symbolic = model(
        keras.tree.map_structure(lambda x: keras.Input(x.shape[1:], dtype="int32"), inputs)
    )
    assert tuple(symbolic.shape)[1:] == tuple(eager.shape)[1:]
    assert keras.backend.standardize_dtype(eager.dtype) == "float32"
    assert keras.backend.standardize_dtype(symbolic.dtype) == "float32"
    np.testing.assert_allclose(model.predict(inputs, verbose=0), as_numpy(eager), atol=1e-6)


def check_padding(model, inputs, tolerance=1e-6):
    """Padding further changes no prediction, and neither do the other rows of a batch."""
    expected = as_numpy(model(inputs))
    for extra in (1, 7):
        padded = keras.tree.map_structure(lambda x, n=extra: np.pad(x, ((0, 0), (0, n))), inputs)
        np.testing.assert_allclose(as_numpy(model(padded)), expected, atol=tolerance)
    alone = keras.tree.map_structure(lambda x: x[-1:], inputs)
    np.testing.assert_allclose(as_numpy(model(alone)), expected[-1:], atol=tolerance)


def check_policy(make_model, policy, inputs, labels):
    """Under a dtype policy: float32 weights and logits, near those of float32, a finite loss."""
    model, exact = make_model(policy), make_model("float32")
    model.set_weights(exact.get_weights())
    assert model.dtype_policy.name == policy
    assert {keras.backend.standardize_dtype(w.dtype) for w in model.trainable_weights} == {
        "float32"
    }
    logits, expected = as_numpy(model(inputs)), as_numpy(exact(inputs))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())
    assert np.isfinite(fit_once(model, inputs, labels))


def check_fit(model, inputs, labels):
    """One step of training has a finite loss and moves every trainable weight."""
    before = [np.array(w) for w in model.trainable_weights]
    assert np.isfinite(fit_once(model, inputs, labels))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert not np.array_equal(np.array(weight), old), f"{weight.path} was not trained"
        assert np.isfinite(np.array(weight)).all()


def check_saving(model, inputs, folder):
    """A `.keras` file and a weights file bring back weights, optimizer and predictions."""
    expected = model.predict(inputs, verbose=0)
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    assert type(loaded) is type(model)
    assert loaded.get_config() == model.get_config()
    for mine, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.array(mine), np.array(theirs))
    if getattr(model, "optimizer", None) is not None:
        pairs = zip(loaded.optimizer.variables, model.optimizer.variables, strict=True)
        for mine, theirs in pairs:
            np.testing.assert_array_equal(np.array(mine), np.array(theirs))
    np.testing.assert_allclose(loaded.predict(inputs, verbose=0), expected, atol=1e-6)
    model.save_weights(folder / "model.weights.h5")
    twin = type(model).from_config(model.get_config())
    twin.load_weights(folder / "model.weights.h5")
    np.testing.assert_allclose(as_numpy(twin(inputs)), expected, atol=1e-6)


def check_fresh_process(model, inputs, folder, tolerance=1e-6, **environment):
    """Another process that only imports kerasllm loads the model and predicts the same."""
    model.save(folder / "model.keras")
    named = inputs if isinstance(inputs, dict) else {"the_only_input": inputs}
    np.savez(folder / "inputs.npz", **named)
    run_python("-c", LOAD_AND_PREDICT, folder, **environment)
    predictions = np.load(folder / "predictions.npy")
    np.testing.assert_allclose(predictions, model.predict(inputs, verbose=0), atol=tolerance)


def fit_once(model, inputs, labels):
    """Compiles the model, fits it on one batch; its loss."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    history = model.fit(inputs, labels, batch_size=len(labels), epochs=1, verbose=0)
    return history.history["loss"][0]


def as_numpy(tensor):
    return np.array(keras.ops.convert_to_numpy(tensor))
