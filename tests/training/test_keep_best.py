"""KeepBest: what it keeps, when it stops, and what it resumes after a kill at any moment."""

import io
import json
import math
import os
import pathlib
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest

from kerasllm.data import make_batches
from kerasllm.evaluation import plot_learning_curves
from kerasllm.metrics import ConfusionMatrix, MacroF1
from kerasllm.models import EmbeddingLSTMClassifier
from kerasllm.training import KeepBest
from kerasllm.training.keep_best import load_optimizer, save_optimizer

NAN = float("nan")


class Killed(BaseException):
    """Stands for the end of the process."""


def make_model(number):
    """A model whose only weight says which epoch it is from."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[number]])])
    model.stop_training = False
    return model


def number_of(model):
    return float(np.array(model.weights[0])[0, 0])


def run_epochs(keep, values, start=0):
    """What fit does: epochs with these monitored values, until it is stopped; epochs done."""
    for epoch, value in enumerate(values):
        if epoch < start:
            continue
        model = make_model(epoch + 1)
        keep.set_model(model)
        keep.on_epoch_begin(epoch)
        keep.on_epoch_end(epoch, {"loss": 1 / (epoch + 1), "val_macro_f1": value})
        if model.stop_training:
            return epoch + 1
    return len(values)


@pytest.mark.parametrize(
    ("mode", "values", "best_epoch"),
    [
        ("max", [0.1, 0.5, 0.3], 2),
        ("max", [0.5, 0.5, 0.4], 1),
        ("max", [0.1, 0.2, 0.3], 3),
        ("min", [0.1, 0.5, 0.3], 1),
        ("min", [3.0, 1.0, 2.0], 2),
        ("max", [NAN, -5.0, NAN], 2),
        ("min", [NAN, NAN, 7.0], 3),
        ("max", [NAN, NAN, NAN], 1),
        ("max", [0.0, math.inf, NAN], 2),
    ],
)
def test_best_and_last_are_kept_and_no_other(tmp_path, mode, values, best_epoch):
    keep = KeepBest(tmp_path, mode=mode, patience=9)
    run_epochs(keep, values)
    assert number_of(keep.best_model()) == best_epoch
    files = {"state.json", "epoch_3.keras", f"epoch_{best_epoch}.keras"}
    assert set(os.listdir(tmp_path)) == files
    again = KeepBest(tmp_path, mode=mode, patience=9)
    last, initial_epoch = again.resume()
    assert (number_of(last), initial_epoch) == (3, 3)
    assert number_of(again.best_model()) == best_epoch
    np.testing.assert_equal(again.history, {"loss": [1, 1 / 2, 1 / 3], "val_macro_f1": values})


@pytest.mark.parametrize(
    ("patience", "values", "epochs"),
    [
        (1, [0.1, 0.2, 0.2, 0.9], 3),
        (2, [0.5, 0.4, 0.3, 0.9], 3),
        (2, [0.5, 0.4, 0.6, 0.5, 0.5, 0.9], 5),
        (3, [0.5, 0.4, 0.4], 3),
        (2, [NAN, NAN, NAN, 1.0], 3),
    ],
)
def test_training_stops_after_patience_epochs_without_improvement(
    tmp_path, patience, values, epochs
):
    keep = KeepBest(tmp_path, patience=patience)
    assert not keep.finished
    assert run_epochs(keep, values) == epochs
    assert keep.finished == (epochs < len(values))
    again = KeepBest(tmp_path, patience=patience)
    again.resume()
    assert again.finished == keep.finished


def test_patience_goes_on_where_it_was(tmp_path):
    """Keras's EarlyStopping begins anew after a restart."""
    values = [0.9, 0.1, 0.2, 0.3, 0.4, 0.5]
    run_epochs(KeepBest(tmp_path, patience=4), values[:3])
    keep = KeepBest(tmp_path, patience=4)
    _, start = keep.resume()
    assert run_epochs(keep, values, start) == 5


def test_more_patience_lets_a_finished_run_go_on(tmp_path):
    run_epochs(KeepBest(tmp_path, patience=1), [0.5, 0.4])
    keep = KeepBest(tmp_path, patience=3)
    assert keep.resume()[1] == 2
    assert not keep.finished


@pytest.mark.parametrize("moment", ["save", "replace model", "replace state", "delete"])
@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_kill_while_writing_leaves_a_folder_to_resume(tmp_path, monkeypatch, epoch, moment):
    """The last model once took its place before the state: one epoch was then trained twice."""
    values = [0.2, 0.6, 0.4, 0.7, 0.1]
    unbroken = KeepBest(tmp_path / "unbroken", patience=9)
    run_epochs(unbroken, values)
    broken = tmp_path / "broken"
    run_epochs(KeepBest(broken, patience=9), values[:epoch])

    with monkeypatch.context() as patched:
        replace, saved, unlink = os.replace, keras.Model.save, pathlib.Path.unlink

        def replace_or_die(source, target):
            name = os.path.basename(target)
            if name == ("state.json" if moment == "replace state" else f"epoch_{epoch + 1}.keras"):
                raise Killed
            replace(source, target)

        def save_half_and_die(model, path):
            saved(model, path)
            with open(path, "rb+") as file:
                file.truncate(1000)
            raise Killed

        def unlink_or_die(path, missing_ok=False):
            if path.name.startswith("epoch_"):
                raise Killed
            unlink(path, missing_ok)

        if moment == "save":
            patched.setattr(keras.Model, "save", save_half_and_die)
        elif moment == "delete":
            patched.setattr(pathlib.Path, "unlink", unlink_or_die)
        else:
            patched.setattr(os, "replace", replace_or_die)
        keep = KeepBest(broken, patience=9)
        start = epoch and keep.resume()[1]
        if moment == "delete" and epoch in (0, 2):  # nothing to delete
            run_epochs(keep, values[: epoch + 1], start)
        else:
            with pytest.raises(Killed):
                run_epochs(keep, values[: epoch + 1], start)
    (broken / ".77.epoch_9.keras").write_bytes(b"half")  # what a real kill leaves behind

    keep = KeepBest(broken, patience=9)
    model, start = keep.resume() or (make_model(0), 0)
    assert start in (epoch, epoch + 1)
    assert number_of(model) == start
    run_epochs(keep, values, start)
    assert keep.state == unbroken.state
    assert set(os.listdir(broken)) == set(os.listdir(tmp_path / "unbroken"))
    assert number_of(keep.best_model()) == 4


def test_run_that_starts_anew_forgets_the_earlier_one(tmp_path):
    run_epochs(KeepBest(tmp_path), [0.9, 0.8, 0.7])
    keep = KeepBest(tmp_path)
    keep.set_model(make_model(1))
    keep.on_epoch_begin(0)
    assert KeepBest(tmp_path).resume() is None  # killed here, nothing of it is resumed
    run_epochs(keep, [0.1, 0.2])
    assert set(os.listdir(tmp_path)) == {"state.json", "epoch_2.keras"}
    assert keep.history["val_macro_f1"] == [0.1, 0.2]


def test_nothing_to_resume_is_none(tmp_path):
    assert KeepBest(tmp_path).resume() is None
    assert KeepBest(tmp_path / "missing").resume() is None


def test_best_model_before_the_first_epoch_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"no best model .*: no epoch has finished"):
        KeepBest(tmp_path).best_model()


def edit_state(folder, **changes):
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def empty_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other", "content")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "state.json").write_text('{"finished_ep'), ""),
        (lambda f: (f / "state.json").write_bytes(b"\xff\xfe\x00"), ""),
        (lambda f: (f / "state.json").write_text("[1, 2]"), ""),
        (lambda f: (f / "state.json").write_text('{"monitor": "x"}'), "lacks 'mode'"),
        (lambda f: edit_state(f, finished_epochs="2"), ""),
        (lambda f: (f / "epoch_2.keras").unlink(), "epoch_2.keras is missing"),
        (lambda f: (f / "epoch_2.keras").write_bytes(b""), "epoch_2.keras is no saved model"),
        (
            lambda f: os.truncate(f / "epoch_2.keras", 5000),
            "epoch_2.keras is no saved model, or is cut off",
        ),
        (lambda f: flip_a_byte(f / "epoch_2.keras"), "epoch_2.keras cannot be loaded"),
        (lambda f: empty_zip(f / "epoch_2.keras"), "epoch_2.keras cannot be loaded"),
    ],
)
def test_damaged_files_are_one_clear_error(tmp_path, damage, reason):
    run_epochs(KeepBest(tmp_path), [0.1, 0.2])
    damage(tmp_path)
    with pytest.raises(ValueError, match=f"cannot be resumed: .*{reason}.*Delete it to start"):
        KeepBest(tmp_path).resume()


@pytest.mark.parametrize("other", [{"monitor": "val_loss"}, {"mode": "min"}])
def test_other_monitor_or_mode_cannot_be_resumed(tmp_path, other):
    run_epochs(KeepBest(tmp_path), [0.1])
    with pytest.raises(ValueError, match=r"kept for \('val_macro_f1', 'max'\), not for"):
        KeepBest(tmp_path, **other).resume()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "auto"}, "mode is 'auto'; expected 'max' or 'min'"),
        ({"patience": 0}, "patience is 0; expected 1 epoch or more"),
    ],
)
def test_arguments_that_make_no_sense_are_an_error(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        KeepBest(tmp_path, **arguments)


def test_monitor_that_is_not_logged_is_an_error_that_names_what_is(tmp_path):
    model = make_model(0)
    model.compile("sgd", "mse")
    keep = KeepBest(tmp_path, monitor="val_f1")
    with pytest.raises(ValueError, match=r"monitors val_f1, .* logged values: loss\."):
        model.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=2, verbose=0, callbacks=[keep])
    assert os.listdir(tmp_path) == []


def test_fit_from_another_epoch_than_the_next_is_an_error(tmp_path):
    """Forgetting initial_epoch= would train finished epochs again and spoil the history."""
    run_epochs(KeepBest(tmp_path), [0.1, 0.2])
    keep = KeepBest(tmp_path)
    model, _ = keep.resume()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="holds 2 finished epochs, but training goes on after 0"):
        model.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=5, verbose=0, callbacks=[keep])
    assert KeepBest(tmp_path).resume()[1] == 2


class Kill(keras.callbacks.Callback):
    """Kills the training at the end of the first epoch it sees, or after its third batch."""

    def __init__(self, at_batch):
        super().__init__()
        self.at_batch = at_batch

    def on_train_batch_end(self, batch, logs=None):
        if self.at_batch and batch == 2:
            raise Killed

    def on_epoch_end(self, epoch, logs=None):
        raise Killed


def train(folder, seed, *more_callbacks, epochs=4):
    """A training as recipes do it, with dropout and shuffling; the model and the callback."""
    random = np.random.default_rng(0)
    token_ids = [list(random.integers(2, 20, random.integers(1, 9))) for _ in range(60)]
    labels = np.array([ids[0] % 3 for ids in token_ids])
    keras.utils.set_random_seed(seed)
    keep = KeepBest(folder)
    model, initial_epoch = keep.resume() or (None, 0)
    if model is None:
        model = EmbeddingLSTMClassifier(20, 3, 8, 8, pooling="max", dropout=0.4)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy", MacroF1(3)])
    options = {"batch_size": 8, "shuffle": True, "seed": 5, "first_epoch": initial_epoch}
    model.fit(
        make_batches(token_ids[:45], labels[:45], **options),
        validation_data=make_batches(token_ids[45:], labels[45:]),
        epochs=epochs,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[keep, *more_callbacks],
        shuffle=False,
    )
    return model, keep


def test_run_killed_at_every_epoch_ends_bit_for_bit_like_the_unbroken_one(tmp_path):
    unbroken, unbroken_keep = train(tmp_path / "unbroken", 1)
    folder = tmp_path / "killed"
    # At the end of the first epoch; within the second; at the end of the second and the third.
    for seed, at_batch in enumerate([False, True, False, False], start=1):
        with pytest.raises(Killed):
            train(folder, seed, Kill(at_batch))
    assert KeepBest(folder).resume()[1] == 3
    model, keep = train(folder, 99)
    assert keep.state == unbroken_keep.state
    assert len(keep.history["val_macro_f1"]) == 4
    for ours, expected in (
        (model.variables, unbroken.variables),  # dropout's random state among them
        (model.optimizer.variables, unbroken.optimizer.variables),
        (keep.best_model().weights, unbroken_keep.best_model().weights),
    ):
        for mine, theirs in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(np.array(mine), np.array(theirs), err_msg=mine.path)


def test_the_optimizers_state_is_kept_of_the_last_epoch_alone(tmp_path):
    model, keep = train(tmp_path, 1)
    best = keep.state["best_epoch"] + 1
    files = {"state.json", "epoch_4.keras", f"epoch_{best}.keras", "epoch_4.optimizer.npz"}
    assert set(os.listdir(tmp_path)) == files
    assert int(model.optimizer.iterations) == 4 * 6
    for path in tmp_path.glob("*.keras"):
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as weights:
            names = []
            with h5py.File(io.BytesIO(weights.read())) as file:
                file.visit(names.append)
        assert not [name for name in names if name.startswith("optimizer/vars/")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is said about what was left out on purpose
        loaded = keep.best_model()
    assert int(loaded.optimizer.iterations) == 0
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    (tmp_path / "epoch_4.optimizer.npz").rename(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"epoch_4\.optimizer\.npz is missing"):
        KeepBest(tmp_path).resume()
    (tmp_path / "epoch_4.optimizer.npz").write_bytes(b"PK half")
    with pytest.raises(ValueError, match=r"epoch_4\.optimizer\.npz is damaged"):
        KeepBest(tmp_path).resume()


def test_bfloat16_state_of_an_optimizer_is_kept_exactly(tmp_path):
    optimizers = [keras.optimizers.Adam(0.1) for _ in range(2)]
    variable = keras.Variable(np.linspace(-1, 1, 7), dtype="bfloat16")
    for optimizer in optimizers:
        optimizer.build([variable])
    optimizers[0].apply([keras.ops.cast(np.linspace(0.1, 3, 7), "bfloat16")], [variable])
    save_optimizer(optimizers[0], tmp_path / "state.npz")
    load_optimizer(optimizers[1], tmp_path / "state.npz")
    for found, expected in zip(*(one.variables for one in optimizers), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(np.array(found, "float32"), np.array(expected, "float32"))
    optimizers[1].build([variable])
    other = keras.optimizers.SGD(0.1)
    other.build([variable])
    with pytest.raises(ValueError, match="is of another optimizer"):
        load_optimizer(other, tmp_path / "state.npz")


def test_fit_stops_when_patience_is_over(tmp_path):
    model = make_model(0)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    keep = KeepBest(tmp_path, monitor="loss", mode="min", patience=2)
    data = np.ones((4, 1)), np.ones((4, 1))
    history = model.fit(*data, epochs=9, verbose=0, callbacks=[keep]).history
    assert history == keep.history
    assert len(history["loss"]) == 3


def test_confusion_matrix_among_the_metrics_once_ended_the_run(tmp_path):
    """It is no number that could be compared or drawn; the numbers beside it are kept."""
    keras.utils.set_random_seed(0)
    model = EmbeddingLSTMClassifier(20, 3, 4, 4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=[ConfusionMatrix(3), MacroF1(3)])
    batches = make_batches([[2, 3, 4], [5, 6], [7]], [0, 1, 2], batch_size=2)
    keep = KeepBest(tmp_path, "val_macro_f1")
    history = model.fit(
        batches, validation_data=batches, epochs=2, callbacks=[keep], verbose=0, shuffle=False
    )
    assert set(keep.history) == {"loss", "macro_f1", "val_loss", "val_macro_f1"}
    assert np.shape(history.history["val_confusion_matrix"][1]) == (3, 3)
    _, epoch = KeepBest(tmp_path, "val_macro_f1").resume()
    assert epoch == 2
    for number, curves in enumerate((keep.history, history.history)):
        plot_learning_curves(tmp_path / f"{number}.png", curves)
        assert (tmp_path / f"{number}.png").stat().st_size > 0
