"""Small files of what a method learned."""

import h5py
import numpy as np
import pytest
from small_transformer import make_rows
from small_transformer import make_small_model as make_model

from kerasllm.training.parameter_efficient import AdaptedModel, LoRA, load_adapter, save_adapter
from kerasllm.training.parameter_efficient.method import METHODS

SMALL = {"adapter": {"bottleneck_dim": 3}, "lora": {"rank": 2}, "adalora": {"initial_rank": 8}}


@pytest.mark.parametrize("name", METHODS)
def test_what_was_learned_comes_back_onto_the_base(name, tmp_path):
    token_ids, _ = make_rows()
    adapted = AdaptedModel(make_model(), METHODS[name](**SMALL.get(name, {})))
    generator = np.random.default_rng(0)
    for variable in [*adapted.trainable_weights, *adapted.non_trainable_weights]:
        if variable.trainable or variable.name == "kept":
            variable.assign(generator.normal(size=variable.shape))
    save_adapter(adapted, tmp_path / "learned.weights.h5")
    base = make_model()
    base.get_layer("logits").kernel.assign(np.zeros((16, 3)))  # a new head is always another
    loaded = load_adapter(base, tmp_path / "learned.weights.h5")
    assert loaded.method == adapted.method
    np.testing.assert_array_equal(loaded(token_ids), adapted(token_ids))
    assert len(loaded.trainable_weights) == len(adapted.trainable_weights)
    with h5py.File(tmp_path / "learned.weights.h5") as file:
        size = []
        file.visititems(
            lambda _, item: size.append(item.size) if isinstance(item, h5py.Dataset) else None
        )
    trained = sum(np.prod(v.shape) for v in adapted.trainable_weights)
    kept = 12 * 8 if name == "adalora" else 0
    assert sum(size) == trained + kept


def test_another_base_is_refused_and_not_touched(tmp_path):
    path = tmp_path / "learned.weights.h5"
    save_adapter(AdaptedModel(make_model(), LoRA()), path)
    token_ids, _ = make_rows()
    one_more = make_model()
    one_more.get_layer("block_1").output_dense.kernel.assign_add(np.full((64, 16), 1e-6))
    for other in (one_more, make_model(seed=1), make_model(num_layers=3)):
        before = np.array(other(token_ids))
        with pytest.raises(ValueError, match="learned on another base model"):
            load_adapter(other, path)
        np.testing.assert_array_equal(other(token_ids), before)
        assert len(other.trainable_weights) == len(other.weights) - len(other.non_trainable_weights)


def test_damaged_files_are_refused_and_the_base_not_touched(tmp_path):
    path, base = tmp_path / "learned.weights.h5", make_model()
    with pytest.raises(FileNotFoundError, match="is missing"):
        load_adapter(base, path)
    save_adapter(AdaptedModel(make_model(), LoRA()), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is no adapter file, or is damaged"):
        load_adapter(base, path)
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ValueError, match="is no adapter file, or is damaged"):
        load_adapter(base, path)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        del file["adapters/block_1.attention.query/a"]
        del file["adapters/block_0.attention.query/a"]
        file["adapters/block_0.attention.query/a"] = np.zeros((16, 4), "float32")
    with pytest.raises(
        ValueError, match=r"is \(16, 4\) in the file.*1.attention.query/a is missing"
    ):
        load_adapter(base, path)
    token_ids, _ = make_rows()
    np.testing.assert_array_equal(base(token_ids), make_model()(token_ids))
    path.write_bytes(whole)
    load_adapter(base, path)
