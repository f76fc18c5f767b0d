"""TransformerClassifier against a float64 NumPy transformer."""

import keras
import model_checks
import numpy as np
import pytest
import transformer_reference as reference

from kerasllm.models import TransformerClassifier

VOCABULARY_SIZE, NUM_CLASSES, DIM, MAX_LENGTH = 30, 4, 8, 20


def make_model(dtype=None, **options):
    keras.utils.set_random_seed(1)
    sizes = {"hidden_dim": DIM, "num_heads": 2, "max_length": MAX_LENGTH}
    return TransformerClassifier(VOCABULARY_SIZE, NUM_CLASSES, dtype=dtype, **sizes | options)


def make_rows(count=8, time=11):
    random = np.random.default_rng(5)
    token_ids = random.integers(1, VOCABULARY_SIZE, (count, time)).astype("int32")
    lengths = random.integers(1, time + 1, count)
    lengths[:2] = 1, time
    token_ids[np.arange(time) >= lengths[:, None]] = 0
    return token_ids, random.integers(0, NUM_CLASSES, count)


def reference_logits(model, token_ids, pooling, pre_norm):
    tokens, positions = (np.array(w, "float64") for w in model.get_layer("embedding").weights)
    gamma, beta = (np.array(w, "float64") for w in model.get_layer("norm").weights)
    mask = token_ids != 0
    x = tokens[token_ids] + positions[: token_ids.shape[1]]
    if not pre_norm:
        x = reference.layer_norm(x, gamma, beta)
    for index in range(model.num_layers):
        weights = reference.weights_of(model.get_layer(f"block_{index}"))
        x = reference.block(x, weights, num_heads=2, mask=mask, pre_norm=pre_norm)
    if pre_norm:
        x = reference.layer_norm(x, gamma, beta)
    function = {"mean": np.mean, "max": np.max}[pooling]
    pooled = np.stack([function(row[keep], axis=0) for row, keep in zip(x, mask, strict=True)])
    kernel, bias = model.get_layer("logits").get_weights()
    return pooled @ kernel + bias


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_logits_are_those_of_the_papers(pooling, pre_norm):
    model = make_model(pooling=pooling, pre_norm=pre_norm)
    random = np.random.default_rng(3)
    for weight in model.trainable_weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    token_ids, _ = make_rows()
    expected = reference_logits(model, token_ids, pooling, pre_norm)
    logits = model.predict(token_ids, verbose=0)
    assert logits.std() > 0.1
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_it_stands_all_checks_of_a_model(tmp_path):
    feed_forward = 2 * DIM * 4 * DIM + 5 * DIM
    block = 4 * (DIM * DIM + DIM) + feed_forward + 4 * DIM
    model_checks.check_model(
        lambda dtype: make_model(dtype, dropout=0.0),
        *make_rows(),
        num_weights=2 + 2 + 2 * 16 + 2,
        num_parameters=(VOCABULARY_SIZE + MAX_LENGTH) * DIM
        + 2 * DIM
        + 2 * block
        + (DIM + 1) * NUM_CLASSES,
        folder=tmp_path,
    )


def test_dropout_is_on_in_training_only():
    model, (token_ids, _) = make_model(dropout=0.5), make_rows()
    calls = [np.array(model(token_ids, training=training)) for training in (False, False, True)]
    np.testing.assert_array_equal(calls[0], calls[1])
    assert not np.allclose(calls[0], calls[2])


def test_jit_compiled_training_gives_the_same_losses():
    token_ids, labels = make_rows()
    losses = []
    for jit_compile in (False, True):
        model = make_model(dropout=0.0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, jit_compile=jit_compile)
        history = model.fit(token_ids, labels, epochs=3, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dim": 9}, "hidden_dim is 9, which num_heads=2 does not divide"),
        ({"num_heads": 0}, "num_heads is 0; expected a positive integer"),
        ({"num_layers": -1}, "num_layers is -1; expected a positive integer"),
        ({"pooling": "last"}, "pooling is 'last'; expected one of mean, max"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_model(**options)
