"""R-Drop and mixup against float64 formulas."""

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
)

from kerasllm.training import (
    Mixup,
    RDrop,
    regularize,
)


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
