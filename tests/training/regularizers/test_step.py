"""The step: compiled, in mixed precision, resumed; and what it must not disturb."""

import keras
import numpy as np
import pytest
from regularizer_reference import (
    Formula,
    assert_gradients,
    make_batch,
    make_model,
    step_gradients,
    unit_rows,
)

from kerasllm.models.embedding import find_embedding
from kerasllm.training import (
    FGM,
    PGD,
    GradientPenalty,
    Mixup,
    RDrop,
    SpatialDropout,
    VirtualAdversarial,
    WeightDecay,
    WeightPenalty,
    WordDropout,
    regularize,
)

ALL = {
    "word_dropout": [WordDropout(0.3)],
    "spatial_dropout": [SpatialDropout(0.3)],
    "fgm": [FGM()],
    "pgd": [PGD()],
    "virtual_adversarial": [VirtualAdversarial()],
    "gradient_penalty": [GradientPenalty()],
    "mixup": [Mixup()],
    "weight_penalty": [WeightPenalty(l2=1e-3)],
    "weight_decay": [WeightDecay()],
    "r_drop": [RDrop()],
    "together": [WordDropout(), RDrop(), FGM(), Mixup(), WeightDecay()],
}


@pytest.mark.parametrize("name", ALL)
def test_a_compiled_step_is_the_eager_one(name):
    """Under jit_compile, and the random numbers too."""
    token_ids, labels = make_batch()
    compiled = regularize(make_model(jit_compile=True), ALL[name], seed=2)
    eager = regularize(make_model(), ALL[name], seed=2)
    eager.run_eagerly = True
    found, expected = (step_gradients(model, token_ids, labels) for model in (compiled, eager))
    assert_gradients(found, expected, 2e-3 if name == "gradient_penalty" else 1e-4)


@pytest.mark.parametrize("name", ["together", "pgd", "gradient_penalty"])
def test_fit_under_mixed_precision(name):
    token_ids, labels = make_batch(rows=16)
    model = make_model(dropout=0.2, policy="mixed_bfloat16")
    if name == "gradient_penalty":
        with pytest.raises(ValueError, match="bfloat16 is too coarse"):
            regularize(model, ALL[name])
        return
    regularize(model, ALL[name])
    before = model.get_weights()
    logs = model.fit(token_ids, labels, batch_size=8, verbose=0, class_weight={0: 1, 1: 2, 2: 3})
    assert np.isfinite(logs.history["loss"][0])
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all() and not np.array_equal(old, new)


def test_bfloat16_gradients_are_near_those_of_float32():
    token_ids, labels = make_batch()
    for regularizers in ([FGM(2.0), Mixup()], [VirtualAdversarial(2.0, probe=1.0)]):
        found, expected = (
            step_gradients(regularize(make_model(policy=policy), regularizers), token_ids, labels)
            for policy in ("mixed_bfloat16", "float32")
        )
        assert_gradients(found, expected, 0.1)


def test_loss_scaling_of_float16_is_undone():
    """Gradients are scaled, a step's size is not."""
    token_ids, labels = make_batch()
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=1024.0)
    found = step_gradients(regularize(make_model(optimizer=scaled), [FGM()]), token_ids, labels)
    expected = step_gradients(regularize(make_model(), [FGM()]), token_ids, labels)
    assert_gradients(found, expected, 1e-5)


def test_further_passes_drop_what_the_first_dropped():
    """So the states of dropout's generators end where a plain step leaves them."""
    token_ids, labels = make_batch()
    states = {}
    for name, regularizers in {
        "plain": [],
        "fgm": [FGM()],
        "virtual": [VirtualAdversarial()],
        "r_drop": [RDrop()],
    }.items():
        model = regularize(make_model(dropout=0.4), regularizers)
        states[name] = []
        for _ in range(2):
            model.train_on_batch(token_ids, labels)
            state = next(v for v in model.variables if "seed" in v.path)
            states[name].append(np.array(state).tolist())
    assert states["fgm"] == states["virtual"] == states["plain"]
    assert states["plain"][0] != states["plain"][1] == states["r_drop"][0]


def test_penalties_in_the_model_count_once():
    token_ids, labels = make_batch()
    model, plain = make_model(), make_model()
    model.layers[-1].kernel.regularizer = keras.regularizers.L2(0.5)
    regularize(model, [RDrop(), FGM(1e-6)])  # three passes, all alike: twice the gradient
    found = step_gradients(model, token_ids, labels)
    expected = step_gradients(plain, token_ids, labels)
    kernel = np.array(make_model().layers[-1].kernel)
    np.testing.assert_allclose(found[3], 2 * expected[3] + kernel, atol=1e-4)


def test_evaluate_predict_and_save_are_those_of_the_plain_model(tmp_path):
    token_ids, labels = make_batch(rows=12)
    model = regularize(make_model(), ALL["together"])
    model.fit(token_ids, labels, epochs=2, verbose=0)
    predictions = model.predict(token_ids, verbose=0)
    np.testing.assert_allclose(predictions, model(token_ids), atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model) and "train_step" not in vars(loaded)
    np.testing.assert_allclose(loaded.predict(token_ids, verbose=0), predictions, atol=1e-6)
    assert loaded.evaluate(token_ids, labels, verbose=0) == pytest.approx(
        model.evaluate(token_ids, labels, verbose=0), rel=1e-5
    )


def test_a_resumed_run_ends_like_the_unbroken_one(tmp_path):
    token_ids, labels = make_batch(rows=16)
    regularizers = [WordDropout(), FGM()]
    options = {"batch_size": 8, "verbose": 0, "shuffle": False}

    def adam():
        return keras.optimizers.Adam(0.01)

    whole = regularize(make_model(optimizer=adam()), regularizers)
    whole.fit(token_ids, labels, epochs=4, **options)
    broken = regularize(make_model(optimizer=adam()), regularizers)
    broken.fit(token_ids, labels, epochs=2, **options)
    broken.save(tmp_path / "model.keras")
    again = regularize(keras.models.load_model(tmp_path / "model.keras"), regularizers)
    again.fit(token_ids, labels, epochs=4, initial_epoch=2, **options)
    for mine, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_an_empty_list_makes_training_plain_again():
    token_ids, labels = make_batch()
    model = regularize(regularize(make_model(), [FGM()]), [])
    expected = step_gradients(make_model(), token_ids, labels)
    assert_gradients(step_gradients(model, token_ids, labels), expected, 1e-6)


def test_the_embedding_is_left_as_it_was_even_by_an_error():
    token_ids, labels = make_batch()
    model = regularize(make_model(), [FGM()])
    layer = find_embedding(model)
    model.train_on_batch(token_ids, labels)
    with pytest.raises(Exception):  # noqa: B017 - whatever Keras raises
        model.train_on_batch(token_ids, labels[:2])
    assert "call" not in vars(layer)


def test_an_embedding_that_is_not_trained_can_be_perturbed():
    token_ids, labels = make_batch()
    model = make_model()
    model.layers[1].trainable = False
    model.compile(keras.optimizers.SGD(1.0), model.loss)
    regularize(model, [FGM(0.7)])
    formula = Formula(model, token_ids, labels)
    move = 0.7 * unit_rows(formula.gradient_at(0.0) * formula.mask)
    expected = formula.weight_gradients(
        lambda: formula.loss(formula.embeddings()) + formula.loss(formula.embeddings() + move)
    )
    assert_gradients(step_gradients(model, token_ids, labels), [0 * expected[0], *expected[1:]])
