"""Fine-tuning in one call, and the pieces that Keras brings: accumulation, clipping, averages."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_transformer import make_dataset, make_model, make_rows

from kerasllm.training import KeepBest, fine_tune
from kerasllm.training.fine_tune import LinearWarmupDecay


def test_schedule_is_two_lines():
    schedule = LinearWarmupDecay(0.8, train_steps=12, warmup_steps=4, final_learning_rate=0.1)
    expected = [0.2, 0.4, 0.6, *(0.1 + 0.7 * left / 8 for left in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0))]
    expected[3] = 0.8
    found = [float(schedule(tf.constant(step))) for step in range(13)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert float(schedule(100)) == pytest.approx(0.1)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert [float(again(step)) for step in range(13)] == found
    assert float(LinearWarmupDecay(1.0, 2)(0)) == 1.0
    with pytest.raises(ValueError, match="3 steps and 4 of warm-up"):
        LinearWarmupDecay(1.0, 3, 4)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_fit_learns_and_compiles_as_it_says(policy):
    model = make_model(dtype=policy, dropout=0.1)
    history = fine_tune.fit(
        model, make_dataset(), valid=make_dataset(), epochs=12, learning_rate=0.02,
        layer_decay=0.8, average_decay=0.5, verbose=0,
    ).history  # fmt: skip
    assert history["val_accuracy"][-1] > 0.9 and history["val_macro_f1"][-1] > 0.9
    optimizer = model.optimizer
    assert optimizer.learning_rate.numpy() == 0
    assert optimizer.global_clipnorm == 1.0
    variables = {variable.path: variable for variable in model.trainable_variables}
    decays = {path: optimizer._use_weight_decay(variable) for path, variable in variables.items()}
    assert not decays["block_0/output/bias"] and not decays["block_0/attention_norm/gamma"]
    assert decays["block_0/output/kernel"] and decays["embedding/token_embeddings"]
    multiplier = optimizer.learning_rate_multiplier(variables["block_0/output/kernel"])
    assert multiplier == pytest.approx(0.8**3)


def weights_after(steps, batch_size, **arguments):
    model = make_model()
    arguments = {"train_steps": 10**9, "learning_rate": 0.01, "warmup_share": 0.0, **arguments}
    fine_tune.compile_model(model, **arguments)
    model.optimizer.epsilon = 1e-2  # else Adam makes steps of the rounding of gradients that are 0
    model.fit(make_dataset(batch_size), epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0)
    return model.get_weights()


def test_accumulated_batches_are_one_large_batch():
    three = weights_after(3, 8, gradient_accumulation_steps=3)
    one = weights_after(1, 24)
    for found, expected in zip(three, one, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    changes = [np.abs(a - b).max() for a, b in zip(one, make_model().get_weights(), strict=True)]
    assert max(changes) > 1e-3


def test_a_run_that_was_saved_goes_on_with_rates_and_exclusions(tmp_path):
    """Two epochs are one, save, load, and another."""

    def make():
        return fine_tune.compile_model(
            make_model(), 6, learning_rate=0.01, layer_decay=0.5, weight_decay=0.5
        )

    whole = make()
    whole.fit(make_dataset(), epochs=2, shuffle=False, verbose=0)
    part = make()
    keep = KeepBest(tmp_path, "loss", "min")
    part.fit(make_dataset(), epochs=1, callbacks=[keep], shuffle=False, verbose=0)
    loaded, epoch = KeepBest(tmp_path, "loss", "min").resume()
    loaded.fit(make_dataset(), epochs=2, initial_epoch=epoch, shuffle=False, verbose=0)
    for found, expected in zip(loaded.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_frozen_and_gradual_fits():
    model = make_model()
    before = model.get_weights()
    fine_tune.fit(model, make_dataset(), epochs=1, frozen_blocks=3, learning_rate=0.01, verbose=0)
    changed = [
        weight.path
        for weight, old in zip(model.weights, before, strict=True)
        if not np.array_equal(weight, old)
    ]
    assert changed == ["logits/kernel", "logits/bias"]
    model = make_model()
    fine_tune.fit(model, make_dataset(), epochs=2, epochs_per_unfrozen_block=1, verbose=0)
    assert len(model.trainable_weights) == len(model.weights)


def test_what_does_not_go_together_is_refused():
    model, rows = make_model(), make_dataset()
    with pytest.raises(ValueError, match="not both"):
        fine_tune.fit(model, rows, frozen_blocks=1, epochs_per_unfrozen_block=1)
    with pytest.raises(ValueError, match="cannot be averaged"):
        fine_tune.fit(model, rows, average_decay=0.9, epochs_per_unfrozen_block=1)
    unknown = tf.data.Dataset.from_generator(lambda: iter([make_rows()]), output_signature=(
        tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32),
    ))  # fmt: skip
    with pytest.raises(ValueError, match="number of batches"):
        fine_tune.fit(model, unknown)
