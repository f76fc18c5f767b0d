"""TransformerEncoderDecoder: greedy decoding is the model's own, and it learns to reverse."""

import keras
import numpy as np
import pytest

import kerasllm
from kerasllm.models import TransformerEncoderDecoder

START, END, FIRST = 1, 2, 3
VOCABULARY_SIZE = 16


def make_rows(count, length, seed=0):
    """Sources of several lengths; the target is the source and then the source from its end."""
    random = np.random.default_rng(seed)
    source = np.zeros((count, length), "int32")
    target = np.zeros((count, 2 * length + 2), "int32")
    for row, size in enumerate(random.integers(1, length + 1, count)):
        tokens = random.integers(FIRST, VOCABULARY_SIZE, size)
        source[row, :size] = tokens
        target[row, : 2 * size + 2] = [START, *tokens, *tokens[::-1], END]
    return source, target


def make_model(**options):
    keras.utils.set_random_seed(2)
    sizes = {"hidden_dim": 32, "num_layers": 2, "num_heads": 4, "dropout": 0.0}
    return TransformerEncoderDecoder(VOCABULARY_SIZE, VOCABULARY_SIZE, **sizes | options)


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_greedy_decoding_says_what_the_model_says_without_caches(pre_norm, dtype):
    model = make_model(pre_norm=pre_norm, dtype=dtype)
    source, _ = make_rows(5, 6)
    found = model.generate(source, START, END, max_length=9)
    assert found.shape == (5, 9) and found.dtype == np.int32
    for row in range(5):
        target = [START]
        while len(target) < 10 and target[-1] != END:
            logits = model(
                {"source_token_ids": source[row : row + 1], "target_token_ids": np.array([target])}
            )
            expected = np.array(logits)[0, -1]
            chosen = found[row, len(target) - 1]
            # Ties within the rounding of the dtype may fall either way.
            assert expected[chosen] >= expected.max() - (1e-4 if dtype == "float32" else 0.05)
            target.append(int(chosen))
        assert not found[row, len(target) - 1 :].any()


def test_padding_of_the_source_changes_nothing():
    model = make_model()
    source, _ = make_rows(4, 6)
    padded = np.pad(source, ((0, 0), (0, 3)))
    np.testing.assert_array_equal(
        model.generate(source, START, END, 8), model.generate(padded, START, END, 8)
    )


def test_saved_models_come_back(tmp_path):
    model = make_model()
    source, target = make_rows(4, 6)
    inputs = {"source_token_ids": source, "target_token_ids": target[:, :-1]}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(
        model.predict(inputs, verbose=0), loaded.predict(inputs, verbose=0)
    )
    np.testing.assert_array_equal(
        model.generate(source, START, END), loaded.generate(source, START, END)
    )


@pytest.mark.slow
def test_it_learns_to_copy_and_reverse():
    """99 of 100 unseen sources come out whole, copied and reversed."""
    model = make_model(hidden_dim=64)
    source, target = make_rows(12_800, 6)
    steps = 100 * 14
    model.compile(
        kerasllm.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=2e-3, warmup_steps=100)
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    inputs = {"source_token_ids": source, "target_token_ids": target[:, :-1]}
    model.fit(inputs, target[:, 1:], batch_size=128, epochs=14, verbose=0)
    unseen, expected = make_rows(300, 6, seed=1)
    found = model.generate(unseen, START, END, max_length=13)
    right = (found == expected[:, 1:]).all(axis=1).mean()
    assert right >= 0.99, right
