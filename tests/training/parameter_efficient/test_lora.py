"""LoRA and AdaLoRA against weights that were changed by NumPy in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_transformer import make_dataset, make_rows
from small_transformer import make_small_model as make_model

from kerasllm.layers import Dense, GatedDense, MultiHeadAttention
from kerasllm.models import BertBackbone, BertClassifier
from kerasllm.training import fine_tune
from kerasllm.training.parameter_efficient import (
    METHODS,
    AdaLoRA,
    AdaptedModel,
    LoRA,
    count_parameters,
)
from kerasllm.training.parameter_efficient.adalora import Orthogonality
from kerasllm.training.parameter_efficient.rank_allocation import RankAllocation, importance

ALL = AdaLoRA().targets


def randomize(adapted, seed=0):
    """Values for all that is not random at first."""
    generator = np.random.default_rng(seed)
    for layer in adapted.adapters:
        for weight in layer.trainable_weights:
            weight.assign(0.3 * generator.normal(size=weight.shape))
    return adapted


def exact(value):
    return np.array(value, "float64")


def with_updates(model, updates):
    """A twin of a model, with matrices added to kernels: dict of path to matrix."""
    twin = make_model()
    twin.set_weights(model.get_weights())
    found = 0
    for weight in twin.weights:
        update = updates.get(weight.path.removesuffix("/kernel"))
        if weight.name == "kernel" and update is not None:
            weight.assign(exact(weight) + update.reshape(weight.shape))
            found += 1
    assert found == len(updates)
    return twin


def lora_updates(adapted):
    return {layer.target.path: 2.0 * exact(layer.a) @ exact(layer.b) for layer in adapted.adapters}


def gradients(model, rows):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        value = loss(rows[1], model(rows[0], training=True))
    found = tape.gradient(value, [variable.value for variable in variables])
    return {
        variable.path: np.array(tf.convert_to_tensor(gradient))
        for variable, gradient in zip(variables, found, strict=True)
    }


@pytest.mark.parametrize("targets", [("query", "value"), ALL])
def test_lora_is_the_base_with_other_kernels(targets):
    rows, model = make_rows(), make_model()
    plain = with_updates(model, {})
    adapted = AdaptedModel(model, LoRA(rank=4, alpha=8.0, targets=targets))
    assert len(adapted.adapters) == 2 * len(targets)
    np.testing.assert_array_equal(adapted(rows[0]), plain(rows[0]))  # b is zeros at first
    randomize(adapted)
    updates = lora_updates(adapted)
    twin = with_updates(model, updates)
    expected = np.array(twin(rows[0]))
    assert np.abs(expected - np.array(plain(rows[0]))).max() > 0.1
    np.testing.assert_allclose(adapted(rows[0]), expected, atol=1e-5)

    found, full = gradients(adapted, rows), gradients(twin, rows)
    assert {path.split("/")[0] for path in found} == {
        *(path.replace("/", ".") for path in updates),
        "logits",
    }
    for layer in adapted.adapters:
        kernel = full[f"{layer.target.path}/kernel"].astype("float64")
        kernel = kernel.reshape(layer.input_dim, layer.output_dim)
        expected_a, expected_b = 2.0 * kernel @ exact(layer.b).T, 2.0 * exact(layer.a).T @ kernel
        np.testing.assert_allclose(found[f"{layer.name}/a"], expected_a, atol=5e-6)
        np.testing.assert_allclose(found[f"{layer.name}/b"], expected_b, atol=5e-6)
        assert np.abs(expected_a).max() > 1e-4 and np.abs(expected_b).max() > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("method", [LoRA(rank=4), AdaLoRA(initial_rank=4, target_rank=2)])
def test_merged_model_computes_what_the_adapted_one_did(method, dtype):
    rows, model = make_rows(), make_model(dtype=dtype)
    trainable = len(model.trainable_weights)
    plain = model.predict(rows[0], verbose=0)
    adapted = randomize(AdaptedModel(model, method))
    expected = adapted.predict(rows[0], verbose=0)
    assert np.abs(expected - plain).max() > 0.05
    merged = adapted.merge()
    assert merged is model and len(model.trainable_weights) == trainable
    found = merged.predict(rows[0], verbose=0)
    # In bfloat16 query, key and value of a layer without hooks are one product.
    np.testing.assert_allclose(found, expected, atol=1e-5 if dtype == "float32" else 2e-2)


def test_layers_of_every_kind_take_an_update():
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")

    def make():
        keras.utils.set_random_seed(1)
        inputs = keras.Input((5, 8))
        y = MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
        y = GatedDense(6, use_bias=True, name="gated")(y)
        y = Dense(7, activation="gelu", name="fused")(y)
        y = Dense(6, activation="tanh", name="own")(y)
        return keras.Model(inputs, keras.layers.Dense(3, use_bias=False, name="plain")(y))

    targets = ("query", "attention_output", "gated", "fused", "own", "plain")
    model, twin = make(), make()
    adapted = randomize(AdaptedModel(model, LoRA(rank=2, alpha=4.0, targets=targets), head=[]))
    assert [layer.target.name for layer in adapted.adapters] == list(targets)
    assert adapted.adapters[1].input_dim == 8
    for layer in adapted.adapters:
        update = 2.0 * exact(layer.a) @ exact(layer.b)
        kernel = next(w for w in twin.weights if w.path == f"{layer.target.path}/kernel")
        kernel.assign(exact(kernel) + update.reshape(kernel.shape))
    np.testing.assert_allclose(adapted(x), twin(x), atol=1e-5)
    np.testing.assert_allclose(adapted.merge()(x), twin(x), atol=1e-5)


@pytest.mark.parametrize(
    "method",
    [LoRA(rank=4), AdaLoRA(initial_rank=3, target_rank=2, targets=("key", "intermediate"))],
)
def test_training_under_xla_leaves_the_base_bit_for_bit(method):
    """test_methods.py trains every method without XLA."""
    model = make_model(dropout=0.1)
    before = {v.path: np.array(v) for v in model.weights if "seed_generator" not in v.path}
    adapted = AdaptedModel(model, method)
    old = [np.array(v) for v in adapted.trainable_weights]
    arguments = {"learning_rate": 0.01, "jit_compile": True, "verbose": 0}
    fine_tune.fit(adapted, make_dataset(), valid=make_dataset(), epochs=2, **arguments)
    for variable in model.weights:
        if variable.path in before and not variable.path.startswith("logits"):
            np.testing.assert_array_equal(variable, before[variable.path])
    changed = [
        not np.array_equal(v, w) for v, w in zip(adapted.trainable_weights, old, strict=True)
    ]
    assert all(changed)
    assert len(adapted.optimizer.variables) == 2 + 2 * len(old) - 1


def test_adalora_is_the_base_with_other_kernels():
    rows, model = make_rows(), make_model()
    adapted = AdaptedModel(model, AdaLoRA(initial_rank=4, target_rank=2, targets=("query",)))
    randomize(adapted)
    adapted.adapters[0].kept.assign([1, 0, 1, 0])
    updates = {
        layer.target.path: exact(layer.p)
        @ np.diag(exact(layer.singular_values) * exact(layer.kept))
        @ exact(layer.q)
        for layer in adapted.adapters
    }
    np.testing.assert_allclose(adapted(rows[0]), with_updates(model, updates)(rows[0]), atol=2e-6)


def test_the_penalty_is_that_of_orthogonal_vectors():
    matrix = np.random.default_rng(0).normal(size=(7, 3))
    expected = 0.1 * ((matrix.T @ matrix - np.eye(3)) ** 2).sum()
    for value in (matrix, matrix.T):
        assert float(Orthogonality(0.1)(tf.constant(value, "float32"))) == pytest.approx(expected)
    square, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    assert float(Orthogonality(1.0)(tf.constant(square, "float32"))) == pytest.approx(0, abs=1e-9)
    adapted = randomize(AdaptedModel(make_model(), AdaLoRA(orthogonality=0.5)))
    terms = [((m.T @ m - np.eye(12)) ** 2).sum() for a in adapted.adapters
             for m in (exact(a.p), exact(a.q).T)]  # fmt: skip
    assert float(sum(adapted.losses)) == pytest.approx(0.5 * sum(terms), rel=1e-5)


def test_ranks_fall_to_the_budget_by_importance():
    method = AdaLoRA(
        initial_rank=4, target_rank=1, targets=("query", "value"), interval=2, warmup_share=0.2,
        final_share=0.4,
    )  # fmt: skip
    adapted = AdaptedModel(make_model(), method)
    spy = Spy()
    fine_tune.fit(
        adapted, make_dataset(), epochs=10, learning_rate=0.01, callbacks=[spy], verbose=0
    )
    ranks = np.array(spy.ranks)  # steps from 1 to 30
    assert (ranks[:6] == 16).all()  # the warm-up, and nothing is lost at its end
    falling = [round(4 * (1 + 3 * ((18 - step) / 12) ** 3)) for step in range(8, 17, 2)]
    assert list(ranks[7:16:2]) == falling
    assert (ranks[17:] == 4).all()  # fixed
    assert (np.array(spy.kept[16]) == 1).all() and sum(spy.kept[17]) == 4
    assert spy.kept[17] == spy.kept[-1]


class Spy(keras.callbacks.Callback):
    """Singular values that are not 0, after each step."""

    def __init__(self):
        super().__init__()
        self.ranks, self.kept = [], []

    def on_train_batch_end(self, batch, logs=None):
        adapters = self.model.adapters
        self.last_ranks = [
            int(np.count_nonzero(np.array(a.singular_values * a.kept))) for a in adapters
        ]
        self.ranks.append(sum(self.last_ranks))
        self.kept.append([float(k) for a in adapters for k in np.array(a.kept)])


def test_importance_is_the_formula_of_the_paper():
    adapted = AdaptedModel(make_model(), AdaLoRA(initial_rank=3, target_rank=2, targets=("key",)))
    randomize(adapted)
    update = adapted.adapters[0]
    allocation = RankAllocation(adapted.method, 10)
    allocation._updates = [update]
    generator = np.random.default_rng(3)
    expected = [[np.zeros(v.shape), np.zeros(v.shape)] for v in update.factors]
    for _ in range(3):
        steps = [generator.normal(size=v.shape) for v in update.factors]
        allocation._see([tf.constant(g, "float32") for g in steps], update.factors)
        for state, variable, gradient in zip(expected, update.factors, steps, strict=True):
            now = np.abs(exact(variable) * gradient)
            state[0] = 0.85 * state[0] + 0.15 * now
            state[1] = 0.85 * state[1] + 0.15 * np.abs(now - state[0])
    p, values, q = (state[0] * state[1] for state in expected)
    scores = values + p.mean(0) + q.mean(1)
    np.testing.assert_allclose(importance(update), scores, rtol=1e-5)
    allocation._keep(2, fix=True)
    np.testing.assert_array_equal(update.kept, scores > scores.min())
    np.testing.assert_array_equal(np.array(update.singular_values) != 0, scores > scores.min())


def test_what_cannot_be_is_refused_and_leaves_the_base_as_it_was():
    model = make_model()
    rows = make_rows()
    before = np.array(model(rows[0]))
    with pytest.raises(ValueError, match="no layer whose path ends with 'queries'"):
        AdaptedModel(model, LoRA(targets=("query", "queries")))
    with pytest.raises(ValueError, match="is a LayerNormalization"):
        AdaptedModel(model, LoRA(targets=("attention_norm",)))
    with pytest.raises(ValueError, match="so expected 1 to 16"):
        AdaptedModel(model, LoRA(rank=17))
    with pytest.raises(ValueError, match="has no layers nothing"):
        AdaptedModel(model, LoRA(), head=["nothing"])
    with pytest.raises(ValueError, match="expected a LoRA"):
        AdaptedModel(model, "lora")
    with pytest.raises(ValueError, match="target_rank is 9 and initial_rank 4"):
        AdaLoRA(initial_rank=4, target_rank=9)
    with pytest.raises(ValueError, match="leave some steps"):
        AdaLoRA(warmup_share=0.5, final_share=0.5)
    np.testing.assert_array_equal(model(rows[0]), before)
    adapted = AdaptedModel(model, LoRA())
    with pytest.raises(ValueError, match="is adapted already"):
        AdaptedModel(model, LoRA())
    with pytest.raises(ValueError, match="merge or detach it first"):
        AdaptedModel(adapted, LoRA())
    randomize(adapted)
    assert not np.array_equal(adapted(rows[0]), before)
    np.testing.assert_array_equal(adapted.detach()(rows[0]), before)
    assert count_parameters(model).trained == count_parameters(model).total


def test_lora_on_the_base_shape_trains_under_one_percent():
    model = BertClassifier(BertBackbone.from_preset("chinese_base"), num_classes=2)
    plain = count_parameters(model)
    assert plain.trained == plain.total == 102_269_186
    adapted = AdaptedModel(model, LoRA(rank=8))
    count = count_parameters(adapted)
    # Queries and values of 12 blocks, the pooler and the classifier.
    assert count.trained == 12 * 2 * 8 * (768 + 768) + 768 * 769 + 769 * 2
    assert count.total == plain.total + 12 * 2 * 8 * (768 + 768)
    assert count.share < 0.01


@pytest.mark.parametrize("share_blocks", [False, True])
def test_a_bert_in_a_classifier_takes_every_method(share_blocks):
    inputs = {
        "token_ids": make_rows()[0],
        "segment_ids": np.tile([0, 0, 0, 0, 1, 1, 1, 1, 1], (24, 1)),
    }

    def make():
        keras.utils.set_random_seed(0)
        sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "max_length": 16}
        return BertClassifier(BertBackbone(50, share_blocks=share_blocks, **sizes), num_classes=3)

    plain = np.array(make()(inputs))
    for name, method in METHODS.items():
        if name == "prompt" and share_blocks:
            with pytest.raises(ValueError, match="is used several times"):
                AdaptedModel(make(), method())
            continue
        adapted = AdaptedModel(make(), method())
        trained = {v.path.split("/")[0] for v in adapted.base.trainable_weights}
        assert {"pooler", "logits"} <= trained
        if name in ("lora", "adalora", "adapter"):
            np.testing.assert_allclose(adapted(inputs), plain, atol=1e-6)
        if adapted.adapters:
            randomize(adapted)
            found = np.array(adapted(inputs))
            assert np.abs(found - plain).max() > 2e-5
            alone = {key: value[:1] for key, value in inputs.items()}
            np.testing.assert_allclose(adapted(alone), found[:1], atol=1e-6)
            np.testing.assert_allclose(adapted.predict(inputs, verbose=0), found, atol=1e-6)
