"""Adversarial passes and the gradient penalty against float64 formulas."""

import numpy as np
import pytest
import tensorflow as tf
from regularizer_reference import (
    Formula,
    assert_gradients,
    kl_rows,
    make_batch,
    make_model,
    step_gradients,
    unit_rows,
)

from kerasllm.ops.random import dropout_factors
from kerasllm.training import (
    FGM,
    PGD,
    GradientPenalty,
    VirtualAdversarial,
    WeightPenalty,
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
