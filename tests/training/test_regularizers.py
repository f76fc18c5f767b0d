"""Each regulariser's step against a float64 formula; what a step must not disturb."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from regularizer_reference import (
    CLASSES,
    Formula,
    assert_gradients,
    kl_rows,
    make_batch,
    make_model,
    step_gradients,
    unit_rows,
)

from kerasllm.models.embedding import find_embedding
from kerasllm.ops.random import dropout_factors
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

WEIGHTS = np.array([0.5, 2.0, 1.0, 0.0, 3.0, 1.0])


@pytest.mark.parametrize("sample_weight", [None, WEIGHTS])
def test_no_regularizer_of_weight_changes_the_plain_step(sample_weight):
    token_ids, labels = make_batch()
    model = regularize(make_model(), [WeightPenalty(l2=1e-12)])
    formula = Formula(model, token_ids, labels, sample_weight)
    expected = formula.weight_gradients(lambda: formula.loss(formula.embeddings()))
    assert_gradients(
        step_gradients(model, token_ids, labels, sample_weight=sample_weight), expected
    )


@pytest.mark.parametrize("sample_weight", [None, WEIGHTS])
def test_fgm_adds_the_gradients_at_the_moved_embeddings(sample_weight):
    token_ids, labels = make_batch()
    model = regularize(make_model(), [FGM(epsilon=0.7, weight=0.5)])
    formula = Formula(model, token_ids, labels, sample_weight)
    gradient = formula.gradient_at(0.0) * formula.mask
    move = np.nan_to_num(0.7 * unit_rows(gradient))  # a row of weight 0 does not move

    def objective():
        embeddings = formula.embeddings()
        return formula.loss(embeddings) + 0.5 * formula.loss(embeddings + move)

    expected = formula.weight_gradients(objective)
    found = step_gradients(model, token_ids, labels, sample_weight=sample_weight)
    assert_gradients(found, expected)


def test_pgd_steps_and_comes_back_into_the_ball():
    token_ids, labels = make_batch()
    model = regularize(make_model(), [PGD(epsilon=0.9, step_size=0.6, steps=3)])
    formula = Formula(model, token_ids, labels)
    move = np.zeros((*token_ids.shape, 1))
    for _ in range(3):
        gradient = formula.gradient_at(move) * formula.mask
        move = move + 0.6 * unit_rows(gradient)
        lengths = np.sqrt((np.asarray(move) ** 2).sum((1, 2), keepdims=True))
        move = move * np.minimum(1, 0.9 / lengths)
    np.testing.assert_allclose(np.sqrt((np.asarray(move) ** 2).sum((1, 2))), 0.9)

    def objective():
        embeddings = formula.embeddings()
        return formula.loss(embeddings) + formula.loss(embeddings + move)

    expected = formula.weight_gradients(objective)
    assert_gradients(step_gradients(model, token_ids, labels), expected)


def test_one_step_of_pgd_is_fgm():
    token_ids, labels = make_batch()
    one = regularize(make_model(), [PGD(epsilon=0.7, step_size=0.7, steps=1)])
    other = regularize(make_model(), [FGM(epsilon=0.7)])
    assert_gradients(
        step_gradients(one, token_ids, labels), step_gradients(other, token_ids, labels), 1e-6
    )


@pytest.mark.parametrize("iterations", [1, 3])
def test_virtual_adversarial_direction_and_divergence(iterations):
    token_ids, labels = make_batch()
    regularizer = VirtualAdversarial(0.8, weight=2.0, probe=0.1, power_iterations=iterations)
    model = regularize(make_model(), [regularizer], seed=5)
    formula = Formula(model, token_ids, labels)
    noise = tf.constant([0, 5 * 1_000_003], "int32")
    shape = (*token_ids.shape, formula.weights[0].shape[1])
    signs = dropout_factors(noise, shape, 0.5).numpy().astype("float64") - 1
    assert set(np.unique(signs)) == {-1, 1}
    direction = unit_rows(signs * formula.mask)
    target = tf.constant(formula.logits(formula.embeddings()))

    def divergence(embeddings):
        return tf.reduce_mean(kl_rows(target, formula.logits(embeddings)))

    for _ in range(iterations):
        direction = unit_rows(formula.gradient_at(0.1 * direction, divergence) * formula.mask)

    def objective():
        embeddings = formula.embeddings()
        return formula.loss(embeddings) + 2.0 * divergence(embeddings + 0.8 * direction)

    expected = formula.weight_gradients(objective)
    assert_gradients(step_gradients(model, token_ids, labels), expected, 1e-3)


def test_gradient_penalty_is_that_of_two_nested_tapes():
    token_ids, labels = make_batch()
    plain = make_model()
    model = regularize(make_model(), [GradientPenalty(weight=0.3)])
    formula = Formula(model, token_ids, labels)

    def objective():
        embeddings = formula.embeddings()
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            losses = formula.row_losses(formula.logits(embeddings), labels)
        squares = tf.square(tape.gradient(losses, embeddings))
        return 0.3 * tf.reduce_mean(tf.reduce_sum(squares, (1, 2)))

    expected = formula.weight_gradients(objective)
    with_penalty = step_gradients(model, token_ids, labels)
    without = step_gradients(plain, token_ids, labels)
    found = [a - b for a, b in zip(with_penalty, without, strict=True)]
    assert_gradients(found[:4], expected[:4], 2e-3)
    assert_gradients(found[4:], expected[4:], 5e-3)
    assert max(np.abs(g).max() for g in expected) > 1e-3


def test_r_drop_is_the_formula_of_the_paper():
    token_ids, labels = make_batch()
    model = regularize(make_model(dropout=0.5), [RDrop(alpha=1.5)])
    twin = make_model(dropout=0.5)
    with tf.GradientTape() as tape:
        p, q = twin(token_ids, training=True), twin(token_ids, training=True)
        assert np.abs(p - q).max() > 0.05
        entropies = [Formula.row_losses(logits, labels) for logits in (p, q)]
        loss = tf.reduce_mean(entropies[0] + entropies[1]) / 2
        loss += 1.5 * tf.reduce_mean(kl_rows(p, q) + kl_rows(q, p)) / 2
    variables = [weight.value for weight in twin.trainable_weights]
    expected = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, variables)]
    before = model.get_weights()
    logs = model.train_on_batch(token_ids, labels, return_dict=True)
    found = [old - new for old, new in zip(before, model.get_weights(), strict=True)]
    assert_gradients(found, expected)
    assert logs["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_r_drop_weights_the_divergence_by_rows():
    """A row of weight 0 has no part in it."""
    token_ids, labels = make_batch()
    results = []
    for rows in (slice(0, 6), slice(0, 3)):
        model = regularize(make_model(), [RDrop(alpha=1.0)])
        weights = np.array([1, 1, 1, 0, 0, 0.0])[rows]
        found = step_gradients(model, token_ids[rows], labels[rows], sample_weight=weights)
        results.append([g * len(weights) for g in found])
    assert_gradients(*results)


def test_mixup_mixes_embeddings_and_labels():
    token_ids, labels = make_batch()
    regularizer = Mixup(alpha=0.8)
    model = regularize(make_model(), [regularizer])
    formula = Formula(model, token_ids, labels)
    partner, share = regularizer.mix_labels(len(labels), tf.constant([0, 0], "int32"))
    partner, share = partner.numpy(), share.numpy().astype("float64")

    def objective():
        embeddings = formula.embeddings() * formula.mask
        own = share[:, None, None]
        mixed = own * embeddings + (1 - own) * tf.gather(embeddings, partner)
        logits = formula.logits(mixed, np.maximum(formula.mask, formula.mask[partner]))
        losses = share * formula.row_losses(logits, labels)
        losses += (1 - share) * formula.row_losses(logits, labels[partner])
        return tf.reduce_mean(losses)

    expected = formula.weight_gradients(objective)
    assert_gradients(step_gradients(model, token_ids, labels), expected)


def test_mixup_pairs_every_row_with_another_and_draws_from_beta():
    partner, share = Mixup(alpha=0.4).mix_labels(20_000, tf.constant([7, 7], "int32"))
    partner, share = partner.numpy(), share.numpy()
    assert sorted(partner) == list(range(20_000))
    assert (partner != np.arange(20_000)).all()
    assert share.min() >= 0.5 and share.max() <= 1
    # The variance of Beta(a, a) is 1 / (4 (2 a + 1)); turning round keeps the squared distance.
    assert np.mean((share - 0.5) ** 2) == pytest.approx(1 / (4 * 1.8), rel=0.02)


@pytest.mark.parametrize(("l1", "l2"), [(1e-2, 0.0), (0.0, 1e-2), (1e-3, 1e-2)])
def test_weight_penalty_is_that_of_keras(l1, l2):
    token_ids, labels = make_batch()
    model = regularize(make_model(), [WeightPenalty(l1, l2)])
    twin = make_model()
    for layer in twin.layers:
        for weight in layer.weights:
            if weight.name != "bias":
                weight.regularizer = keras.regularizers.L1L2(l1, l2)
    found = step_gradients(model, token_ids, labels)
    assert_gradients(found, step_gradients(twin, token_ids, labels), 1e-6)


def test_weight_penalty_goes_by_the_pattern():
    token_ids, labels = make_batch()
    plain = step_gradients(make_model(), token_ids, labels)
    model = regularize(make_model(), [WeightPenalty(l2=0.1, pattern="embeddings$")])
    found = step_gradients(model, token_ids, labels)
    changed = [not np.allclose(a, b, atol=1e-6) for a, b in zip(found, plain, strict=True)]
    assert changed == [True, False, False, False, False]


def test_weight_decay_makes_adam_into_adamw():
    token_ids, labels = make_batch()
    model = regularize(make_model(optimizer=keras.optimizers.Adam(0.01)), [WeightDecay(0.3)])
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.3)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    twin = make_model(optimizer=optimizer)
    for _ in range(3):
        model.train_on_batch(token_ids, labels)
        twin.train_on_batch(token_ids, labels)
    for mine, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("unknown_id", [1, None])
def test_word_dropout_drops_words_and_no_padding(unknown_id):
    regularizer, noise = WordDropout(0.3, unknown_id), tf.constant([3, 4], "int32")
    token_ids = np.full((200, 100), 9, "int32")
    token_ids[:, 60:] = 0
    mask = tf.constant(token_ids != 0)
    changed = regularizer.replace_ids(tf.constant(token_ids), mask, noise).numpy()
    embeddings = regularizer.change_embeddings(tf.ones((200, 100, 2)), mask, noise, None)
    dropped = (changed == 1) if unknown_id else (embeddings.numpy() == 0).all(-1)
    assert dropped[:, :60].mean() == pytest.approx(0.3, abs=0.02)
    assert (changed[:, 60:] == 0).all()
    kept = changed[~dropped]
    assert set(kept.tolist()) <= {0, 9}


def test_spatial_dropout_drops_features_over_the_whole_text():
    embeddings = SpatialDropout(0.25).change_embeddings(
        tf.ones((100, 12, 40)), None, tf.constant([3, 4], "int32"), None
    )
    embeddings = embeddings.numpy()
    assert (embeddings == embeddings[:, :1]).all()
    assert set(np.unique(embeddings)) == {0, np.float32(1 / 0.75)}
    assert (embeddings == 0).mean() == pytest.approx(0.25, abs=0.02)


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


class OwnStep(keras.Model):
    def train_step(self, data):
        return {}


def two_embeddings():
    ids = keras.Input((None,), dtype="int32")
    added = keras.layers.Embedding(9, 4, name="a")(ids) + keras.layers.Embedding(9, 4, name="b")(
        ids
    )
    pooled = keras.layers.GlobalAveragePooling1D()(added)
    return keras.Model(ids, keras.layers.Dense(CLASSES)(pooled))


def test_what_cannot_be_regularized_is_refused_in_a_sentence():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match="compiled with a loss"):
        regularize(two_embeddings(), [FGM()])
    with pytest.raises(ValueError, match="train_step of its own"):
        regularize(OwnStep(), [FGM()])
    model = two_embeddings()
    model.compile("sgd", loss)
    with pytest.raises(ValueError, match="but has 2: a, b"):
        regularize(model, [FGM()])
    regularize(model, [FGM()], embedding="b")
    assert np.isfinite(model.train_on_batch(np.ones((2, 3), "int32"), np.zeros(2))).all()
    with pytest.raises(TypeError, match="no Regularizer"):
        regularize(model, ["fgm"])
    with pytest.raises(ValueError, match="from_logits=True, but RDrop from_logits=False"):
        regularize(model, [RDrop(from_logits=False)])
    with pytest.raises(ValueError, match="matches no trainable weight"):
        regularize(model, [WeightDecay(pattern="nothing")])


@pytest.mark.parametrize(
    "make",
    [
        lambda: FGM(0.0),
        lambda: PGD(steps=0),
        lambda: VirtualAdversarial(-1.0),
        lambda: Mixup(0.0),
        lambda: RDrop(float("nan")),
        lambda: WordDropout(1.0),
        lambda: SpatialDropout(-0.1),
        lambda: WeightPenalty(),
        lambda: WeightDecay(0),
        lambda: GradientPenalty(0),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()
