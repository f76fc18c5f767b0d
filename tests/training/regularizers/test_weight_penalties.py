"""Penalties on weights and weight decay are those of Keras."""

import keras
import numpy as np
import pytest
from regularizer_reference import (
    assert_gradients,
    make_batch,
    make_model,
    step_gradients,
)

from kerasllm.training import (
    WeightDecay,
    WeightPenalty,
    regularize,
)


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
