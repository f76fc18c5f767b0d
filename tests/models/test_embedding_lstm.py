"""EmbeddingLSTMClassifier against the same model of stock Keras layers, and on other backends."""

import importlib.util
import itertools

import keras
import model_checks
import numpy as np
import pytest
from processes import run_python

import kerasllm
from kerasllm.models import EmbeddingLSTMClassifier

VOCABULARY_SIZE, NUM_CLASSES, EMBEDDING_DIM, UNITS = 30, 4, 6, 5
VARIANTS = list(itertools.product(["last", "mean", "max"], [False, True], [1, 2]))

# Goes on training where a saved model stands, with whatever backend and ops there are.
TRAIN = """
import sys
import numpy as np
import keras
import kerasllm

folder = sys.argv[1]
data = np.load(f"{folder}/data.npz")
model = keras.models.load_model(f"{folder}/start.keras")
history = model.fit(data["x"], data["y"], epochs=3, batch_size=8, shuffle=False, verbose=0)
np.savez(f"{folder}/trained.npz", *model.get_weights(), loss=history.history["loss"],
         logits=model.predict(data["x"], verbose=0))
print("native" if kerasllm.native.in_use() else "composed", keras.backend.backend())
"""


def make_model(dtype=None, **options):
    keras.utils.set_random_seed(1)
    sizes = {"embedding_dim": EMBEDDING_DIM, "units": UNITS}
    return EmbeddingLSTMClassifier(VOCABULARY_SIZE, NUM_CLASSES, dtype=dtype, **sizes | options)


def make_rows(count=8, time=11):
    random = np.random.default_rng(5)
    token_ids = random.integers(1, VOCABULARY_SIZE, (count, time)).astype("int32")
    lengths = random.integers(1, time + 1, count)
    lengths[:2] = 1, time
    token_ids[np.arange(time) >= lengths[:, None]] = 0
    return token_ids, random.integers(0, NUM_CLASSES, count)


def stock_logits(weights, token_ids, pooling, bidirectional, num_layers):
    """The logits by stock Keras layers, masked pooling and the last product in float64 NumPy."""
    *weights, kernel, bias = weights
    inputs = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY_SIZE, EMBEDDING_DIM, mask_zero=True)(inputs)
    for index in range(num_layers):
        sequences = index < num_layers - 1 or pooling != "last"
        layer = keras.layers.LSTM(UNITS, return_sequences=sequences)
        x = (keras.layers.Bidirectional(layer) if bidirectional else layer)(x)
    model = keras.Model(inputs, x)
    model.set_weights(weights)
    hidden = np.array(keras.ops.convert_to_numpy(model(token_ids)), "float64")
    if pooling != "last":
        function = {"mean": np.mean, "max": np.max}[pooling]
        rows = zip(hidden, token_ids != 0, strict=True)
        hidden = np.stack([function(row[keep], axis=0) for row, keep in rows])
    return hidden @ kernel + bias


@pytest.mark.parametrize(("pooling", "bidirectional", "num_layers"), VARIANTS)
def test_logits_are_those_of_stock_keras_layers(pooling, bidirectional, num_layers):
    variant = {"pooling": pooling, "bidirectional": bidirectional, "num_layers": num_layers}
    model = make_model(**variant)
    random = np.random.default_rng(3)
    model.set_weights([random.normal(0, 0.5, w.shape) for w in model.weights])
    token_ids, _ = make_rows()
    expected = stock_logits(model.get_weights(), token_ids, **variant)
    logits = np.array(model(token_ids))
    assert logits.std() > 0.1
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    model_checks.check_padding(model, token_ids)
    model_checks.check_config(model)


@pytest.mark.parametrize(
    ("options", "num_weights"),
    [
        ({"pooling": "max", "bidirectional": True, "num_layers": 2, "dropout": 0.3}, 15),
        ({"pooling": "mean", "kernel_regularizer": "l2"}, 6),
    ],
)
def test_it_stands_all_checks_of_a_model(tmp_path, options, num_weights):
    directions, num_layers = 1 + options.get("bidirectional", False), options.get("num_layers", 1)
    dims = [EMBEDDING_DIM] + [directions * UNITS] * (num_layers - 1)
    num_parameters = (
        VOCABULARY_SIZE * EMBEDDING_DIM
        + sum(directions * 4 * UNITS * (dim + UNITS + 1) for dim in dims)
        + (directions * UNITS + 1) * NUM_CLASSES
    )
    model_checks.check_model(
        lambda dtype: make_model(dtype, **options),
        *make_rows(),
        num_weights=num_weights,
        num_parameters=num_parameters,
        folder=tmp_path,
        fresh_process=num_layers == 2,
    )


def test_sizes_by_default_are_those_documented():
    model = EmbeddingLSTMClassifier(1000, 3)
    assert model.get_layer("embedding").output_dim == model.get_layer("lstm_0").units == 128
    assert model.count_params() == 1000 * 128 + 4 * 128 * (128 + 128 + 1) + 129 * 3


def test_dropout_is_on_in_training_only():
    model, (token_ids, _) = make_model(dropout=0.5), make_rows()
    calls = [np.array(model(token_ids, training=training)) for training in (False, False, True)]
    np.testing.assert_array_equal(calls[0], calls[1])
    assert not np.allclose(calls[0], calls[2])


def test_text_of_padding_only_does_not_ruin_the_training():
    """With mean pooling one such row once made NaN of every weight."""
    token_ids, labels = make_rows()
    token_ids[3] = 0
    for pooling in ("last", "mean", "max"):
        model = make_model(pooling=pooling)
        model_checks.check_fit(model, token_ids, labels)
        assert np.isfinite(model.predict(token_ids, verbose=0)).all()


def test_pretrained_embeddings_are_where_it_starts():
    vectors = np.random.default_rng(0).normal(size=(VOCABULARY_SIZE, EMBEDDING_DIM))
    model = make_model(pretrained_embeddings=vectors.tolist())
    embedding = model.get_layer("embedding").embeddings
    np.testing.assert_array_equal(np.array(embedding), vectors.astype("float32"))
    assert "pretrained_embeddings" not in model.get_config()
    model_checks.check_fit(model, *make_rows())  # they are trained on


def test_pretrained_embeddings_survive_saving(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(VOCABULARY_SIZE, EMBEDDING_DIM))
    model = make_model(pretrained_embeddings=vectors)
    model_checks.check_saving(model, make_rows()[0], tmp_path)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_kernel_regularizer_is_part_of_the_loss(bidirectional):
    regularizer = keras.regularizers.L2(0.01)
    model = make_model(num_layers=2, bidirectional=bidirectional, kernel_regularizer=regularizer)
    kernels = [np.array(w) for w in model.weights if w.name == "kernel"]
    assert len(kernels) == 2 * (1 + bidirectional) + 1
    expected = sorted(0.01 * np.square(kernel).sum() for kernel in kernels)
    np.testing.assert_allclose(sorted(map(float, model.losses)), expected, rtol=1e-5)
    twin = EmbeddingLSTMClassifier.from_config(model.get_config())
    assert len(twin.losses) == len(expected)
    assert twin.kernel_regularizer.get_config() == regularizer.get_config()


def test_global_policy_is_taken_where_no_dtype_is_given():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = make_model()
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("lstm_0").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"
    twin = EmbeddingLSTMClassifier.from_config(model.get_config())
    assert twin.get_layer("lstm_0").compute_dtype == "bfloat16"


def test_mixed_float16_scales_the_loss():
    """Keras asks the model's own policy, which was once float32 whatever dtype= said."""
    model = make_model("mixed_float16")
    model.compile("adam", "sparse_categorical_crossentropy")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_name_and_trainable_are_kept():
    model = make_model(name="reader", trainable=False)
    assert model.trainable_weights == []
    twin = EmbeddingLSTMClassifier.from_config(model.get_config())
    assert (twin.name, twin.trainable) == ("reader", False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary_size": 2}, "vocabulary_size is 2; expected at least 3"),
        ({"num_classes": 1}, "num_classes is 1; .* at least 2"),
        ({"num_layers": 0}, "num_layers is 0; expected a positive integer"),
        ({"pooling": "first"}, "pooling is 'first'; expected one of last, mean, max"),
        (
            {"embedding_dim": 2, "pretrained_embeddings": np.zeros((2, 3))},
            r"shape \(2, 3\); expected \(vocabulary_size, embedding_dim\) = \(10, 2\)",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingLSTMClassifier(**{"vocabulary_size": 10, "num_classes": 2, **arguments})


def test_it_learns_which_token_says_the_class():
    random = np.random.default_rng(0)
    token_ids = random.integers(6, VOCABULARY_SIZE, (128, 9))
    labels = random.integers(0, NUM_CLASSES, 128)
    token_ids[np.arange(128), random.integers(0, 9, 128)] = labels + 2
    model = make_model(pooling="max", bidirectional=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])
    history = model.fit(token_ids, labels, epochs=12, verbose=0).history
    assert history["accuracy"][0] < 0.6
    assert history["accuracy"][-1] > 0.95


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a model before training and data, and what training it here gives."""
    if not kerasllm.native.in_use():
        pytest.skip("the native library is not in use: nothing to compare with")
    folder = tmp_path_factory.mktemp("trained")
    model = make_model(pooling="max", bidirectional=True, num_layers=2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss)
    x, y = make_rows(32)
    model.save(folder / "start.keras")
    np.savez(folder / "data.npz", x=x, y=y)
    history = model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
    return folder, model, history.history["loss"], model.predict(x, verbose=0)


@pytest.mark.parametrize(
    "environment",
    [{"KERASLLM_NATIVE": "0"}, {"KERAS_BACKEND": "torch"}, {"KERAS_BACKEND": "jax"}],
    ids=lambda environment: "-".join(environment.values()),
)
def test_training_without_the_native_ops_gives_the_same(trained, environment):
    folder, model, losses, logits = trained
    backend = environment.get("KERAS_BACKEND", "tensorflow")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    # One thread: torch's wait for each other where the processor is busy.
    finished = run_python("-c", TRAIN, folder, OMP_NUM_THREADS="1", **environment)
    assert finished.stdout.split()[-2:] == ["composed", backend]
    with np.load(folder / "trained.npz") as found:
        np.testing.assert_allclose(found["loss"], losses, atol=1e-5)
        np.testing.assert_allclose(found["logits"], logits, atol=1e-5)
        for index, weight in enumerate(model.get_weights()):
            np.testing.assert_allclose(found[f"arr_{index}"], weight, atol=1e-5)
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="Keras on NumPy needs jax")
def test_keras_on_numpy_predicts_the_same(trained, tmp_path):
    model_checks.check_fresh_process(
        trained[1], make_rows()[0], tmp_path, tolerance=1e-5, KERAS_BACKEND="numpy"
    )
