"""The transformer blocks against a float64 NumPy transformer; caches, dropout, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import transformer_reference as reference

from kerasllm.layers import TransformerDecoderBlock, TransformerEncoderBlock

# 35 rows: enough for the feed-forward op.
BATCH, TIME, DIM, CONTEXT_TIME, CONTEXT_DIM = 5, 7, 12, 5, 10
LENGTHS = np.array([7, 3, 1, 5, 7])
CONTEXT_MASK = np.array(
    [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 1], [1, 0, 1, 0, 0]], bool
)
FORMS = {
    "bert": {},
    "first": {"activation": "relu"},
    "gpt": {"pre_norm": True},
    "llama": {
        "pre_norm": True,
        "normalization": "rms",
        "activation": "swiglu",
        "num_key_value_heads": 2,
        "rotary_max_wavelength": 100,
        "use_bias": False,
    },
    "geglu": {"activation": "geglu", "head_dim": 5},
}


def make_block(block_class, form, dtype="float32", **options):
    keras.utils.set_random_seed(3)
    if FORMS[form].get("rotary_max_wavelength"):
        options["head_dim"] = 4
    return block_class(4, 20, **{"dropout": 0.0, "dtype": dtype, **FORMS[form], **options})


def randomize(layer):
    random = np.random.default_rng(0)
    for weight in layer.trainable_weights:
        weight.assign(random.normal(0.1, 0.5, weight.shape))


def inputs(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def reference_options(form):
    options = dict(FORMS[form])
    options.pop("use_bias", None), options.pop("head_dim", None)
    options["wavelength"] = options.pop("rotary_max_wavelength", None)
    return options


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_encoder_block_is_the_papers(form, masked, causal):
    block, x = make_block(TransformerEncoderBlock, form), inputs(BATCH, TIME, DIM)
    mask = np.arange(TIME) < LENGTHS[:, None] if masked else None
    block(x)
    randomize(block)
    outputs = np.array(block(x, mask=mask, causal=causal))
    expected = reference.block(
        x.astype("float64"),
        reference.weights_of(block),
        num_heads=4,
        mask=mask,
        causal=causal,
        **reference_options(form),
    )
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("crossed", [False, True])
def test_decoder_block_is_the_papers(form, crossed):
    block, x = make_block(TransformerDecoderBlock, form), inputs(BATCH, TIME, DIM)
    mask = np.arange(TIME) < LENGTHS[:, None]
    more = {}
    if crossed:
        more = {
            "context": inputs(BATCH, CONTEXT_TIME, CONTEXT_DIM, seed=2),
            "context_mask": CONTEXT_MASK,
        }
    block(x, **more)
    randomize(block)
    outputs = np.array(block(x, inputs_mask=mask, **more))
    expected = reference.block(
        x.astype("float64"),
        reference.weights_of(block),
        num_heads=4,
        mask=mask,
        causal=True,
        **more,
        **reference_options(form),
    )
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["bert", "llama"])
def test_a_text_in_parts_over_a_cache_is_the_text_in_one(form):
    block, x = make_block(TransformerDecoderBlock, form), inputs(BATCH, TIME, DIM)
    whole = np.array(block(x))
    cache = block.make_cache(BATCH, TIME + 2)
    begin = 0
    for end in (3, 4, 7):
        part, cache = block(x[:, begin:end], cache=cache, start_index=begin)
        np.testing.assert_allclose(part, whole[:, begin:end], rtol=1e-5, atol=1e-5)
        begin = end


def test_a_context_asked_step_by_step():
    block, x = make_block(TransformerDecoderBlock, "gpt"), inputs(BATCH, TIME, DIM)
    context = inputs(BATCH, CONTEXT_TIME, CONTEXT_DIM, seed=2)
    expected = np.array(block(x, context=context))
    found = block(x, context_key_value=block.context_keys_and_values(context))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="was built with a context"):
        block(x)


@pytest.mark.parametrize("form", ["bert", "gpt"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_dropout_is_on_in_training_only_and_follows_the_seed(form, jit_compile):
    x = inputs(BATCH, TIME, DIM)

    def outputs(training):
        block = make_block(TransformerEncoderBlock, form, dropout=0.4, seed=11)
        block.build(x.shape)
        call = tf.function(lambda: block(x, training=training), jit_compile=jit_compile)
        return np.array(call())

    np.testing.assert_array_equal(outputs(False), outputs(False))
    np.testing.assert_array_equal(outputs(True), outputs(True))
    assert np.abs(outputs(True) - outputs(False)).max() > 0.1


@pytest.mark.parametrize("form", FORMS)
def test_gradients_reach_every_weight_and_agree_with_the_composed_ops(form, monkeypatch):
    x = inputs(BATCH, TIME, DIM)
    context = inputs(BATCH, CONTEXT_TIME, CONTEXT_DIM, seed=2)
    mask = np.arange(TIME) < LENGTHS[:, None]

    def gradients():
        block = make_block(TransformerDecoderBlock, form)
        block(x, context=context)
        randomize(block)
        with tf.GradientTape() as tape:
            outputs = block(x, context=context, inputs_mask=mask)
            loss = tf.reduce_sum(tf.sin(outputs) * mask[..., None])
        return tape.gradient(loss, block.trainable_weights)

    fused = gradients()
    monkeypatch.setattr("kerasllm.native.in_use", lambda: False)
    for mine, other in zip(fused, gradients(), strict=True):
        scale = np.abs(other).max()
        assert scale > 0
        np.testing.assert_allclose(mine, other, atol=1e-4 * max(1, scale))


@pytest.mark.parametrize("block_class", [TransformerEncoderBlock, TransformerDecoderBlock])
def test_config_saving_and_mixed_precision(block_class, tmp_path):
    block = make_block(block_class, "llama", dtype="mixed_bfloat16", seed=4)
    model = keras.Sequential([keras.Input((None, DIM)), block])
    x = inputs(BATCH, TIME, DIM)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].get_config() == block.get_config()
    outputs = model(x)
    assert outputs.dtype == tf.bfloat16
    np.testing.assert_array_equal(np.array(outputs), np.array(loaded(x)))
    exact = block_class.from_config({**block.get_config(), "dtype": "float32"})
    exact.build(x.shape)
    exact.set_weights(block.get_weights())
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float32), exact(x), atol=0.05 * np.abs(exact(x)).max()
    )


def test_the_mask_of_an_embedding_is_taken_and_passed_on():
    token_ids = np.array([[3, 4, 5], [6, 0, 0]])
    embedding = keras.layers.Embedding(9, DIM, mask_zero=True)
    block = make_block(TransformerEncoderBlock, "bert")
    outputs = block(embedding(token_ids))
    np.testing.assert_array_equal(outputs._keras_mask, token_ids != 0)
    alone = block(embedding(token_ids[1:, :1]))
    np.testing.assert_allclose(outputs[1:, :1], alone, atol=1e-5)


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="12 features, which 5 heads do not divide"):
        TransformerEncoderBlock(5, 20)(inputs(1, 2, 12))
    with pytest.raises(ValueError, match="normalization is 'batch'; expected one of layer, rms"):
        TransformerEncoderBlock(4, 20, normalization="batch")
    with pytest.raises(ValueError, match="must be a multiple"):
        TransformerEncoderBlock(4, 20, num_key_value_heads=3)(inputs(1, 2, 12))
