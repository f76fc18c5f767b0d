"""Adapters, prefixes, prompts and BitFit against NumPy in float64, and what all methods share."""

import keras
import numpy as np
import pytest
from small_transformer import make_dataset, make_rows
from small_transformer import make_small_model as make_model

from kerasllm.layers import CachedMultiHeadAttention
from kerasllm.models import TransformerEncoderDecoder
from kerasllm.training import KeepBest, fine_tune
from kerasllm.training.parameter_efficient import (
    AdaLoRA,
    AdaptedModel,
    BitFit,
    BottleneckAdapters,
    LoRA,
    PrefixTuning,
    PromptTuning,
    count_parameters,
    make_method,
)

METHODS = [
    LoRA(rank=3),
    AdaLoRA(initial_rank=3, target_rank=2, targets=("query", "output")),
    BottleneckAdapters(bottleneck_dim=4),
    PrefixTuning(length=5),
    PromptTuning(length=4),
    BitFit(),
]


def exact(value):
    return np.array(value, "float64")


def norm_in_numpy(x, layer):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + layer.epsilon)
    return scaled * exact(layer.gamma) + exact(layer.beta)


def gelu_in_numpy(x):
    from math import erf

    return 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2)))


def dense_in_numpy(x, layer):
    return x @ exact(layer.kernel) + exact(layer.bias)


def attention_in_numpy(x, layer, mask, prefix=None):
    """Self-attention over `(batch, time, dim)`; the prefix's keys come first and are seen."""
    rows, time, _ = x.shape
    heads = (rows, time, layer.num_heads, layer.head_dim)
    query = dense_in_numpy(x, layer.query_dense).reshape(heads)
    key = dense_in_numpy(x, layer.key_dense).reshape(heads)
    value = dense_in_numpy(x, layer.value_dense).reshape(heads)
    if prefix is not None:
        key, value = (
            np.concatenate([np.repeat(exact(own)[None], rows, 0), states], 1)
            for own, states in ((prefix.keys, key), (prefix.values, value))
        )
        mask = np.concatenate([np.ones((rows, prefix.keys.shape[0]), bool), mask], 1)
    scores = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(layer.head_dim)
    scores = np.where(mask[:, None, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    outputs = np.einsum("bhqk,bkhd->bqhd", weights, value).reshape(rows, time, -1)
    return dense_in_numpy(outputs, layer.output_dense)


def classifier_in_numpy(model, token_ids, adapters=(), prefixes=(), prompt=None):
    """The whole model with a method on it, post-norm; adapters come two a block."""
    mask = token_ids != 0
    embedding = model.get_layer("embedding")
    x = exact(embedding.token_embeddings)[token_ids]
    x = norm_in_numpy(
        x + exact(embedding.position_embeddings)[: x.shape[1]], model.get_layer("norm")
    )
    if prompt is not None:
        x = np.concatenate([np.repeat(exact(prompt)[None], len(x), 0), x], 1)
        mask = np.concatenate([np.ones((len(x), len(prompt)), bool), mask], 1)

    def adapt(states, number):
        if not adapters:
            return states
        adapter = adapters[number]
        hidden = gelu_in_numpy(dense_in_numpy(states, adapter.down))
        return states + dense_in_numpy(hidden, adapter.up)

    for number in range(2):
        block = model.get_layer(f"block_{number}")
        prefix = prefixes[number] if prefixes else None
        branch = adapt(attention_in_numpy(x, block.attention, mask, prefix), 2 * number)
        x = norm_in_numpy(x + branch, block.attention_norm)
        hidden = gelu_in_numpy(dense_in_numpy(x, block.intermediate_dense))
        branch = adapt(dense_in_numpy(hidden, block.output_dense), 2 * number + 1)
        x = norm_in_numpy(x + branch, block.feed_forward_norm)
    if prompt is not None:
        x, mask = x[:, len(prompt) :], mask[:, len(prompt) :]
    pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return dense_in_numpy(pooled, model.get_layer("logits"))


def adapt(method, **arguments):
    adapted = AdaptedModel(make_model(**arguments), method)
    generator = np.random.default_rng(0)
    for layer in adapted.adapters:
        for weight in layer.trainable_weights:
            weight.assign(0.5 * generator.normal(size=weight.shape))
    return adapted


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        (BottleneckAdapters(bottleneck_dim=4), lambda layers: {"adapters": layers}),
        (PrefixTuning(length=5), lambda layers: {"prefixes": layers}),
        (PromptTuning(length=4), lambda layers: {"prompt": np.array(layers[0].vectors)}),
    ],
)
def test_outputs_are_those_of_numpy(method, parts):
    token_ids, _ = make_rows()
    plain = make_model()
    np.testing.assert_allclose(plain(token_ids), classifier_in_numpy(plain, token_ids), atol=1e-5)
    adapted = adapt(method)
    expected = classifier_in_numpy(adapted.base, token_ids, **parts(adapted.adapters))
    assert np.abs(expected - np.array(plain(token_ids))).max() > 0.05
    np.testing.assert_allclose(adapted(token_ids), expected, atol=1e-5)
    np.testing.assert_allclose(adapted.predict(token_ids, verbose=0), expected, atol=1e-5)
    np.testing.assert_array_equal(adapted.detach()(token_ids), plain(token_ids))
    np.testing.assert_array_equal(
        adapted.base.predict(token_ids, verbose=0), plain.predict(token_ids, verbose=0)
    )


def test_adapters_begin_as_the_base():
    token_ids, _ = make_rows()
    adapted = AdaptedModel(make_model(), BottleneckAdapters())
    np.testing.assert_array_equal(adapted(token_ids), make_model()(token_ids))


def trained_paths(adapted):
    return {v.path for v in adapted.base.trainable_weights}


def test_what_of_the_base_trains():
    head = {"logits/kernel", "logits/bias"}
    for method in METHODS[:2] + METHODS[3:5]:
        assert trained_paths(AdaptedModel(make_model(), method)) == head
    adapted = AdaptedModel(make_model(), BottleneckAdapters())
    names = {path.rpartition("/")[2] for path in trained_paths(adapted) - head}
    assert names == {"gamma", "beta"}
    assert not any(path.startswith("norm/") for path in trained_paths(adapted))
    adapted = AdaptedModel(make_model(), BottleneckAdapters(train_normalizations=False))
    assert trained_paths(adapted) == head
    adapted = AdaptedModel(make_model(), BitFit())
    assert {path.rpartition("/")[2] for path in trained_paths(adapted) - head} == {"bias", "beta"}
    assert "block_1/intermediate/bias" in trained_paths(adapted) and "norm/beta" in trained_paths(
        adapted
    )
    adapted = AdaptedModel(make_model(), LoRA(), head=["block_1", "logits"])
    assert {path.split("/")[0] for path in trained_paths(adapted)} == {"block_1", "logits"}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_fit_learns_saves_and_leaves_frozen_weights_bit_for_bit(method, tmp_path):
    dtype = "mixed_bfloat16" if method.name in ("lora", "prefix", "adapter") else "float32"
    adapted = AdaptedModel(make_model(dropout=0.1, dtype=dtype), method)
    frozen = {v.path: np.array(v) for v in adapted.base.weights
              if not v.trainable and "seed_generator" not in v.path}  # fmt: skip
    trained = {v.path: np.array(v) for v in adapted.trainable_weights}
    rows = make_rows()
    first = fine_tune.compile_model(adapted, 24).evaluate(*rows, verbose=0)[0]
    fine_tune.fit(adapted, make_dataset(), epochs=5, learning_rate=0.01, verbose=0)
    assert adapted.evaluate(*rows, verbose=0)[0] < first
    weights = {v.path: np.array(v) for v in adapted.weights}
    for path, value in frozen.items():
        np.testing.assert_array_equal(weights[path], value)
    for path, value in trained.items():
        assert not np.array_equal(weights[path], value), path
    adapted.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.method == method
    assert len(loaded.trainable_weights) == len(adapted.trainable_weights)
    for found, expected in zip(loaded.weights, adapted.weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    pairs = zip(loaded.optimizer.variables, adapted.optimizer.variables, strict=True)
    for found, expected in pairs:
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        loaded.predict(rows[0], verbose=0), adapted.predict(rows[0], verbose=0)
    )


def test_a_run_that_was_saved_goes_on_to_the_same_weights(tmp_path):
    method = AdaLoRA(initial_rank=3, target_rank=1, interval=2, targets=("query", "value"))

    def train(adapted, **arguments):
        callbacks = [*adapted.make_callbacks(12), *arguments.pop("callbacks", [])]
        adapted.fit(make_dataset(), shuffle=False, callbacks=callbacks, verbose=0, **arguments)

    def make():
        return fine_tune.compile_model(AdaptedModel(make_model(), method), 12, learning_rate=0.01)

    whole = make()
    train(whole, epochs=4)
    train(make(), epochs=2, callbacks=[KeepBest(tmp_path, "loss", "min")])
    loaded, epoch = KeepBest(tmp_path, "loss", "min").resume()
    train(loaded, initial_epoch=epoch, epochs=4)
    for found, expected in zip(loaded.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_only_changes_of_weights_can_be_merged():
    adapted = AdaptedModel(make_model(), PromptTuning())
    with pytest.raises(ValueError, match="PromptTuning computes what no weights"):
        adapted.merge()
    token_ids, _ = make_rows()
    adapted = AdaptedModel(make_model(), BitFit())
    adapted.base.get_layer("block_0").output_dense.bias.assign_add(np.ones(16))
    expected = np.array(adapted(token_ids))
    np.testing.assert_array_equal(adapted.merge()(token_ids), expected)


def test_attention_that_takes_no_prefix_is_refused():
    adapted = AdaptedModel(make_model(), PrefixTuning())
    attention = adapted.base.get_layer("block_0").attention
    assert isinstance(attention, CachedMultiHeadAttention)
    with pytest.raises(ValueError, match="not causal attention"):
        attention(np.zeros((1, 3, 16), "float32"), causal=True)
    model = TransformerEncoderDecoder(20, 20, 8, 1, 2)
    with pytest.raises(ValueError, match="is no TransformerEncoderBlock"):
        AdaptedModel(model, PromptTuning())


def test_methods_by_name():
    assert make_method("lora", rank=3) == LoRA(rank=3)
    assert make_method(**LoRA(targets=("key",)).get_config()) == LoRA(targets=("key",))
    assert make_method("adapter", bottleneck_dim=8).bottleneck_dim == 8
    with pytest.raises(ValueError, match="There is no method 'magic'"):
        make_method("magic")
    with pytest.raises(ValueError, match="bitfit has no rank; it has nothing"):
        make_method("bitfit", rank=3)


def test_freezing_is_the_methods_business():
    adapted = AdaptedModel(make_model(), LoRA())
    with pytest.raises(ValueError, match="its method says what trains"):
        fine_tune.freeze(adapted, blocks=1)
    assert len(fine_tune.find_stages(adapted).blocks) == 2


def test_parameters_are_counted():
    adapted = AdaptedModel(make_model(), LoRA(rank=2))
    count = count_parameters(adapted)
    assert count.trained == 2 * 2 * 2 * (16 * 2) + 16 * 3 + 3
    assert count.total == count_parameters(make_model()).total + 2 * 2 * 2 * 16 * 2
    assert str(count).startswith(f"{count.trained:,} of {count.total:,} parameters train (")
    adapted = AdaptedModel(make_model(), AdaLoRA(initial_rank=2, target_rank=1, targets=("key",)))
    assert count_parameters(adapted).total - count_parameters(make_model()).total == 2 * (64 + 2)
