"""CausalLM and LSTMLM: inputs, loss, packed documents, training, saving."""

import keras
import model_checks
import numpy as np
import pytest
import tensorflow as tf

from kerasllm.models import LSTMLM, CausalLM, causal_lm_arguments

VOCABULARY = 37
SMALL = {"vocabulary_size": VOCABULARY, "hidden_dim": 24, "num_layers": 2, "num_heads": 4}


def gpt(**options):
    return CausalLM.from_preset("gpt2", **{**SMALL, "max_length": 32, "seed": 1, **options})


def modern(**options):
    sizes = {"max_length": 32, "num_key_value_heads": 2, "seed": 1, **options}
    return CausalLM.from_preset("modern", **{**SMALL, **sizes})


def qwen2(**options):
    return modern(query_key_norm=False, query_key_value_bias=True, tie_embeddings=False, **options)


def lstm(**options):
    options = {"embedding_dim": 12, "units": 16, "num_layers": 2, "seed": 1, **options}
    return LSTMLM(VOCABULARY, **options)


def untied_lstm(**options):
    return lstm(tie_embeddings=False, num_layers=1, **options)


MODELS = {
    "gpt": (gpt, 2 + 2 * 16 + 2),
    "modern": (modern, 1 + 2 * 10 + 1),
    "qwen2": (qwen2, 1 + 2 * 11 + 1 + 1),
    "lstm": (lstm, 1 + 2 * 3 + 1),
    "untied_lstm": (untied_lstm, 1 + 3 + 2),
}
every_model = pytest.mark.parametrize("name", MODELS)


def ids(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, VOCABULARY, shape).astype("int32")


def training_inputs(batch=3, time=11):
    tokens = ids(batch, time + 1)
    labels = tokens[:, 1:].copy()
    labels[0, 2] = labels[-1, -4:] = -1
    segments = np.zeros((batch, time), "int32")
    segments[0, 5:], segments[1, 3:7], segments[1, 7:] = 1, 4, 9
    return {"token_ids": tokens[:, :-1], "segment_ids": segments, "labels": labels}


def expected_losses(logits, labels):
    """Cross-entropy in float64."""
    logits = np.asarray(logits, "float64")
    top = logits.max(-1, keepdims=True)
    lse = np.log(np.exp(logits - top).sum(-1)) + top[..., 0]
    chosen = np.take_along_axis(logits, np.maximum(labels, 0)[..., None], -1)[..., 0]
    return np.where(labels >= 0, lse - chosen, 0.0)


@every_model
def test_config_saving_and_training(name, tmp_path):
    make, num_weights = MODELS[name]
    model, inputs = make(), training_inputs()
    assert len(model.trainable_weights) == num_weights
    model_checks.check_config(model)
    model.compile("adam")
    before = [np.array(w) for w in model.trainable_weights]
    history = model.fit(inputs, epochs=3, verbose=0).history["loss"]
    assert history[2] < history[0]
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert not np.array_equal(np.array(weight), old), f"{weight.path} was not trained"
    plain = {"token_ids": inputs["token_ids"]}
    model_checks.check_saving(model, plain, tmp_path)
    if name in ("modern", "lstm"):
        model_checks.check_fresh_process(model, plain, tmp_path)


@every_model
def test_loss_is_the_cross_entropy_of_the_logits(name):
    model, inputs = MODELS[name][0](), training_inputs()
    logits = model.logits(inputs["token_ids"], inputs["segment_ids"])
    assert logits.dtype == tf.float32
    losses = expected_losses(logits, inputs["labels"])
    np.testing.assert_allclose(model.token_losses(inputs), losses, atol=2e-6)
    mean = losses.sum() / (inputs["labels"] >= 0).sum()
    model.compile("adam")
    assert model.evaluate(inputs, verbose=0) == pytest.approx(mean, rel=1e-5)
    assert model.fit(inputs, verbose=0).history["loss"][0] == pytest.approx(mean, rel=1e-5)


@every_model
def test_packed_documents_are_as_if_alone(name):
    model, inputs = MODELS[name][0](), training_inputs()
    logits = np.array(model.logits(inputs["token_ids"], inputs["segment_ids"]))
    for row, begin, end in [(0, 0, 5), (0, 5, 11), (1, 0, 3), (1, 3, 7), (1, 7, 11), (2, 0, 11)]:
        alone = model.logits(inputs["token_ids"][row : row + 1, begin:end])
        np.testing.assert_allclose(logits[row : row + 1, begin:end], alone, atol=2e-6)


@every_model
def test_a_later_token_changes_no_earlier_logits(name):
    model, tokens = MODELS[name][0](), ids(2, 9)
    changed = tokens.copy()
    changed[:, 6] = (changed[:, 6] + 1) % VOCABULARY
    before, after = np.array(model.logits(tokens)), np.array(model.logits(changed))
    np.testing.assert_array_equal(before[:, :6], after[:, :6])
    assert np.abs(before[:, 6:] - after[:, 6:]).max() > 1e-4


@every_model
def test_mixed_bfloat16_is_near(name):
    exact, mixed = MODELS[name][0](), MODELS[name][0](dtype="mixed_bfloat16")
    mixed.set_weights(exact.get_weights())
    inputs = training_inputs()
    assert {w.dtype for w in mixed.trainable_weights} == {"float32"}
    np.testing.assert_allclose(mixed.token_losses(inputs), exact.token_losses(inputs), atol=0.03)
    mixed.compile("adam")
    assert np.isfinite(mixed.fit(inputs, verbose=0).history["loss"][0])


@pytest.mark.parametrize("name", ["modern", "lstm"])
def test_jit_gives_the_same_losses(name):
    inputs = training_inputs()
    if name == "lstm":
        del inputs["segment_ids"]
    losses = []
    for jit in (False, True):
        keras.utils.set_random_seed(3)
        model = MODELS[name][0](dropout=0.1)
        model.compile(keras.optimizers.Adam(0.01), jit_compile=jit)
        losses.append(model.fit(inputs, epochs=4, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@every_model
def test_token_losses_makes_labels_of_the_tokens(name):
    model, inputs = MODELS[name][0](), training_inputs()
    tokens, segments = inputs["token_ids"], inputs["segment_ids"]
    losses = np.array(model.token_losses({"token_ids": tokens, "segment_ids": segments}))
    borders = np.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (0, 1)), constant_values=True)
    assert (losses[borders] == 0).all() and (losses[~borders] > 0).all()
    labels = np.where(borders, -1, np.pad(tokens[:, 1:], ((0, 0), (0, 1))))
    np.testing.assert_allclose(losses, model.token_losses({**inputs, "labels": labels}), atol=1e-6)


def test_lstm_is_keras_layers_and_a_tied_product():
    model, tokens = lstm(), ids(2, 9)
    x = np.array(model.token_embedding.embeddings)[tokens]
    for layer in model.recurrent_layers:
        stock = keras.layers.LSTM(layer.units, return_sequences=True)
        stock.build(x.shape)
        stock.set_weights(layer.get_weights())
        x = np.array(stock(x))
    expected = x @ np.array(model.token_embedding.embeddings).T + np.array(model.head.bias)
    np.testing.assert_allclose(model.logits(tokens), expected, atol=2e-6)


def test_lstm_goes_on_from_its_states():
    model, tokens = lstm(), ids(2, 9)
    whole, _ = model.advance(tokens, None)
    first, states = model.advance(tokens[:, :4], None)
    second, _ = model.advance(tokens[:, 4:], states)
    np.testing.assert_allclose(tf.concat([first, second], 1), whole, atol=1e-6)


@pytest.mark.parametrize("option", ["dropout", "weight_dropout"])
def test_lstm_dropout_is_in_training_alone_and_one_mask_a_row(option):
    model, tokens = lstm(**{option: 0.5}), ids(2, 9)
    plain = lstm()
    plain.set_weights(model.get_weights()[: len(plain.weights)])
    np.testing.assert_array_equal(model.logits(tokens), plain.logits(tokens))
    first = np.array(model.hidden_states(tokens, training=True))
    assert not np.array_equal(first, model.hidden_states(tokens, training=True))
    dropped = first == 0
    if option == "dropout":
        np.testing.assert_array_equal(dropped, dropped[:, :1].repeat(9, 1))
        assert 0.2 < dropped.mean() < 0.8


def test_no_two_layers_begin_with_the_same_weights():
    kernels = [np.array(w).ravel()[:20] for w in modern().weights if len(w.shape) == 2]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)


def test_residual_branches_begin_small():
    model = gpt(hidden_dim=64, num_layers=8, num_heads=4)
    block = model.blocks[3]
    assert np.std(block.intermediate_dense.kernel) == pytest.approx(0.02, rel=0.1)
    assert np.std(block.output_dense.kernel) == pytest.approx(0.02 / 4, rel=0.1)
    assert np.std(block.attention.output_dense.kernel) == pytest.approx(0.02 / 4, rel=0.1)


def test_presets_have_the_published_numbers_of_weights():
    def count(arguments):
        # By hand, so that no large model is made.
        a, dim = arguments, arguments["hidden_dim"]
        head_dim = a.get("head_dim") or dim // a["num_heads"]
        kv = a.get("num_key_value_heads", a["num_heads"]) * head_dim
        query = a["num_heads"] * head_dim
        feed = a.get("feed_forward_dim", 4 * dim)
        attention = dim * (query + 2 * kv) + query * dim
        if a["use_bias"]:
            block = attention + query + 2 * kv + dim + 2 * dim * feed + feed + dim + 4 * dim
            return (a["vocabulary_size"] + a["max_length"] + 2) * dim + a["num_layers"] * block
        block = attention + 3 * dim * feed + 2 * dim
        block += query + 2 * kv if a.get("query_key_value_bias") else 0
        block += 2 * head_dim if a["query_key_norm"] else 0
        return a["vocabulary_size"] * dim + dim + a["num_layers"] * block

    assert count(causal_lm_arguments("gpt2_124m")) == 124_439_808
    assert count(causal_lm_arguments("qwen2_0.5b")) == 494_032_768
    assert count(causal_lm_arguments("qwen3_0.6b")) == 596_049_920
    small = {**SMALL, "max_length": 32, "feed_forward_dim": 40, "num_key_value_heads": 4}
    for form in ("gpt2", "modern"):
        arguments = causal_lm_arguments(form, **small)
        assert CausalLM(**arguments).count_params() == count(arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CausalLM.from_preset("gpt5", vocabulary_size=3), "no form 'gpt5'"),
        (lambda: CausalLM.from_preset("gpt2", "huge", vocabulary_size=3), "no size 'huge'"),
        (lambda: gpt(hidden_dim=25), "25 features, which 4 heads do not divide"),
        (lambda: gpt(positions="none"), "positions is 'none'"),
        (lambda: gpt(vocabulary_size=0), "vocabulary_size is 0; expected a positive integer"),
        (lambda: modern(num_key_value_heads=3), "must be a multiple"),
        (lambda: lstm(units=0), "units is 0"),
        (lambda: lstm(dropout=1.0), "dropout is 1.0; expected a number from 0, below 1"),
        (lambda: gpt()(ids(1, 33)), "A row has 33 tokens; .* has 32 positions"),
        (lambda: gpt()({"tokens": ids(1, 3)}), r"inputs named \['tokens'\]"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
