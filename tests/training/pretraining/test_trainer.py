"""Training by a plan: resumed as if never stopped, guarded, and sound on a full disk."""

import csv
import io
import os
import signal
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm.data import LanguageModelRows, TokenCache
from kerasllm.models import LSTMLM, CausalLM
from kerasllm.optimizers import AdamW
from kerasllm.training.pretraining import (
    Checkpoints,
    CompiledSteps,
    Pretrainer,
    SpikeGuard,
    TrainingPlan,
    TrainingStopped,
    log,
    matrix_weights,
    measure_peak,
    measure_step_seconds,
    training_flops_per_token,
)
from kerasllm.training.pretraining.log import StepTable

LENGTH = 16


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(0)
    lengths = generator.integers(5, 30, 60)
    token_ids = (np.arange(lengths.sum()) % 7 + 1).astype(np.uint16)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    token_ids[starts[:-1]] = 0
    return LanguageModelRows(
        TokenCache({"token_ids": token_ids}, starts, 60, 0, 0, "", None), LENGTH
    )


def make_steps(kind="transformer"):
    keras.utils.set_random_seed(1)
    if kind == "lstm":
        model = LSTMLM(10, 16, 16, num_layers=1, dropout=0.1, weight_dropout=0.1)
    else:
        sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "max_length": LENGTH}
        model = CausalLM.from_preset("modern", vocabulary_size=10, dropout=0.1, **sizes)
    return CompiledSteps(model, AdamW(1e-3, global_clipnorm=1.0))


def make_plan(total_steps=24):
    return TrainingPlan(total_steps, 8, 1e-2, 3, ramp=[(0, 4), (6, 8)])


def train(folder, rows, plan=None, kind="transformer", said=None, **options):
    lines = [] if said is None else said
    trainer = Pretrainer(
        options.pop("steps", None) or make_steps(kind),
        options.pop("make_batches", rows),
        plan or make_plan(),
        folder,
        LENGTH,
        **{"steps_per_call": 4, "checkpoint_seconds": 0, "say": lines.append, **options},
    )
    return trainer, trainer.run()


def losses(folder):
    with open(folder / "steps.csv", encoding="utf-8", newline="") as file:
        return [(row["step"], row["loss"], row["gradient_norm"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def unbroken(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    trainer, result = train(folder, rows)
    values = [np.array(variable) for variable in trainer.variables]
    return losses(folder), values, result


def test_it_learns_and_tells_what_it_did(unbroken):
    steps, _, result = unbroken
    assert [int(step) for step, *_ in steps] == list(range(24))
    assert float(steps[0][1]) > 2.2 and float(steps[-1][1]) < 1.7
    assert result["steps"] == 24 and result["tokens"] == (6 * 4 + 18 * 8) * LENGTH
    assert result["tokens_per_second"] == pytest.approx(result["tokens"] / result["seconds"])
    assert 0 < result["overhead"] < 1


class Broken(Exception):
    """Stands for a kill."""


def break_at(rows, row):
    def make(first_row, count):
        if first_row <= row < first_row + count:
            raise Broken
        return rows(first_row, count)

    return make


@pytest.mark.parametrize("row", [10, 30, 100, 160])
def test_broken_training_goes_on_bit_by_bit(tmp_path, rows, unbroken, row):
    with pytest.raises(Broken):
        train(tmp_path, rows, make_batches=break_at(rows, row))
    trainer, result = train(tmp_path, rows)  # all else is made anew, as in another process
    expected, values, _ = unbroken
    assert losses(tmp_path) == expected
    for variable, value in zip(trainer.variables, values, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)
    assert result["steps"] == 24


def test_number_of_steps_in_a_call_changes_nothing(tmp_path, rows, unbroken):
    train(tmp_path, rows, steps_per_call=1)
    assert losses(tmp_path) == unbroken[0]


def test_lstm_goes_on_bit_by_bit(tmp_path, rows):
    train(tmp_path / "a", rows, kind="lstm")
    with pytest.raises(Broken):
        train(tmp_path / "b", rows, kind="lstm", make_batches=break_at(rows, 100))
    train(tmp_path / "b", rows, kind="lstm")
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_ends(tmp_path, rows, unbroken, number):
    def make(first_row, count):
        if first_row <= 60 < first_row + count:
            os.kill(os.getpid(), number)
        return rows(first_row, count)

    handler = signal.getsignal(number)
    with pytest.raises(TrainingStopped, match=f"stopped by {number.name} after step") as stopped:
        train(tmp_path, rows, make_batches=make, checkpoint_seconds=1e9)
    assert stopped.value.signal_number == number
    assert signal.getsignal(number) is handler
    done = Checkpoints(tmp_path / "checkpoints").steps()[-1]
    assert 0 < done < 24
    said = []
    train(tmp_path, rows, said=said)
    assert said[0] == f"going on after step {done} of 24"
    assert losses(tmp_path) == unbroken[0]


def test_training_outside_the_main_thread_works(tmp_path, rows):
    thread = threading.Thread(target=train, args=(tmp_path, rows, make_plan(8)))
    thread.start()
    thread.join()
    assert len(losses(tmp_path)) == 8


# === Checkpoints ===


def test_full_disk_is_said_and_the_last_checkpoint_is_whole(tmp_path, rows, unbroken, monkeypatch):
    writes, savez = [], np.savez

    def fail_sometimes(path, **arrays):
        writes.append(path)
        if 2 <= len(writes) <= 4:
            with open(path, "wb") as file:
                file.write(b"PK half a file")
            raise OSError(28, "No space left on device")
        savez(path, **arrays)

    monkeypatch.setattr(np, "savez", fail_sometimes)
    said = []
    train(tmp_path, rows, said=said)
    warnings = [line for line in said if line.startswith("warning")]
    assert len(warnings) == 3
    assert "The checkpoint of step 4 could not be written" in warnings[0]
    assert "No space left on device" in warnings[0]
    assert "the last one, of step 0, is whole" in warnings[0]
    assert losses(tmp_path) == unbroken[0]
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name[0] == "."]


def test_full_disk_at_the_first_checkpoint_ends_the_training(tmp_path, rows, monkeypatch):
    def fail(path, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match=r"step 0 could not be written.*No space left.*there is none"):
        train(tmp_path, rows)


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, rows, unbroken, damage):
    with pytest.raises(Broken):
        train(tmp_path, rows, make_batches=break_at(rows, 120))
    last = max((tmp_path / "checkpoints").iterdir())
    content = bytearray(last.read_bytes())
    if damage == "changed":
        content[len(content) // 2] ^= 1
    last.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    (tmp_path / "checkpoints" / ".123.step_000000099.npz").write_bytes(b"of a kill")
    said = []
    train(tmp_path, rows, said=said)
    assert f"{last} is damaged" in said[0]
    assert losses(tmp_path) == unbroken[0]
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_checkpoint_of_another_model_is_refused(tmp_path, rows):
    train(tmp_path, rows, make_plan(4))
    with pytest.raises(ValueError, match="is of another model"):
        train(tmp_path, rows, kind="lstm")
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"No checkpoint in .* is whole"):
        train(tmp_path, rows)


def test_two_checkpoints_are_kept(tmp_path, rows):
    train(tmp_path, rows)
    steps = Checkpoints(tmp_path / "checkpoints").steps()
    assert len(steps) == 2 and steps[-1] == 24


def test_bfloat16_variables_come_back(tmp_path):
    values = np.array([1.5, -2.0, 3e38], np.float32)
    saved = keras.Variable(values, dtype="bfloat16")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, [saved], {"a": 1})
    other = keras.Variable(np.zeros(3), dtype="bfloat16")
    assert checkpoints.restore([other]) == (1, {"a": 1})
    np.testing.assert_array_equal(np.array(other), np.array(saved))


def test_table_of_steps_waits_for_a_disk_that_is_full(tmp_path, monkeypatch):
    table = StepTable(tmp_path / "steps.csv", 0)
    table.write(0, [1.5], [2.0], [0.5], [1e-3])

    class FullFile(io.StringIO):
        def close(self):
            if not self.closed:
                super().close()
                with open(tmp_path / "steps.csv", "a", encoding="utf-8") as file:
                    file.write("1,2.")  # as much as there was room for
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(log, "open", lambda *_, **__: FullFile(), raising=False)
    table.write(1, [2.5], [2.0], [0.5], [1e-3])
    monkeypatch.undo()
    assert [step for step, *_ in losses(tmp_path)] == ["0"]
    table.write(2, [3.5], [2.0], [0.5], [1e-3])
    assert [row[:2] for row in losses(tmp_path)] == [("0", "1.5"), ("1", "2.5"), ("2", "3.5")]
    StepTable(tmp_path / "steps.csv", 1)
    assert [step for step, *_ in losses(tmp_path)] == ["0"]


# === Guards ===


class Spoiling:
    """Compiled steps that spoil the weights at chosen calls, as a fault of the machine would."""

    def __init__(self, steps, calls, value):
        self.steps, self.calls, self.value, self.count = steps, calls, value, 0
        self.model, self.optimizer = steps.model, steps.optimizer

    def __call__(self, batches, learning_rates):
        self.count += 1
        if self.count in self.calls:
            weight = self.model.trainable_variables[-1]
            weight.assign(np.full(weight.shape, self.value))
        return self.steps(batches, learning_rates)


def test_nan_rewinds_to_the_last_checkpoint_with_a_message(tmp_path, rows):
    said = []
    spoiling = Spoiling(make_steps(), {4}, np.nan)
    trainer, result = train(tmp_path, rows, steps=spoiling, said=said)
    (line,) = [line for line in said if "rewound" in line]
    assert "the loss is nan: rewound to step" in line and "(rewind 1 of 3)" in line
    assert trainer.rewinds == 1 and trainer.learning_rate_scale == 0.5 and trainer.row_offset > 0
    steps = losses(tmp_path)
    assert [int(step) for step, *_ in steps] == list(range(24))
    assert all(np.isfinite(float(loss)) for _, loss, _ in steps)
    assert result["loss"] < 2.2
    # What was decided is in the checkpoint.
    again = Pretrainer(make_steps(), rows, make_plan(), tmp_path, LENGTH, say=said.append)
    again.run()
    assert (again.rewinds, again.row_offset) == (1, trainer.row_offset)


def test_checkpoint_that_is_bad_already_gives_way_to_the_one_before(tmp_path, rows):
    """All rewinds once went to the last one, though the one before was whole."""
    with pytest.raises(Broken):
        train(tmp_path, rows, make_batches=break_at(rows, 120))
    checkpoints, other = Checkpoints(tmp_path / "checkpoints"), make_steps()
    variables = [*other.model.variables, *other.optimizer.variables]
    good, bad = checkpoints.steps()
    step, state = checkpoints.restore(variables)
    other.model.trainable_variables[-1].assign(np.full(16, np.nan))
    checkpoints.save(step, variables, state)
    said = []
    trainer, _result = train(tmp_path, rows, said=said)
    rewound = [line for line in said if "rewound" in line]
    assert f"rewound to step {bad}," in rewound[0] and f"rewound to step {good}," in rewound[1]
    assert len(rewound) == 2 and trainer.rewinds == 2
    steps = losses(tmp_path)
    assert [int(step) for step, *_ in steps] == list(range(24))
    assert all(np.isfinite(float(loss)) for _, loss, _ in steps)


def test_later_harm_rewinds_to_the_last_checkpoint(tmp_path, rows):
    said = []
    train(tmp_path, rows, steps=Spoiling(make_steps(), {3, 6}, np.nan), said=said)
    first, second = [line for line in said if "rewound" in line]
    steps = [int(line.split("rewound to step ")[1].split(",")[0]) for line in (first, second)]
    assert steps[0] < steps[1]


def test_step_that_is_too_large_for_the_memory_is_one_sentence(tmp_path, rows):
    steps, calls = make_steps(), []
    real = steps.__call__

    def exhausted(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    class Exhausted:
        model, optimizer = steps.model, steps.optimizer

        def __call__(self, batches, rates):
            calls.append(1)
            if len(calls) == 3:
                steps._functions = dict.fromkeys(steps._functions, exhausted)
            return real(batches, rates)

    with pytest.raises(MemoryError, match=r"8 rows of 16 tokens .* smaller --batch-size"):
        train(tmp_path, rows, steps=Exhausted())
    other = make_steps()
    variables = [*other.model.variables, *other.optimizer.variables]
    assert Checkpoints(tmp_path / "checkpoints").restore(variables)[0] > 0


def test_training_that_goes_wrong_again_and_again_is_given_up(tmp_path, rows):
    spoiling = Spoiling(make_steps(), set(range(3, 99)), np.nan)
    with pytest.raises(FloatingPointError, match="after 2 rewinds: training is given up"):
        train(tmp_path, rows, steps=spoiling, max_rewinds=2)
    assert Checkpoints(tmp_path / "checkpoints").steps()


def test_guard_finds_spikes_and_lets_ordinary_noise_pass():
    guard = SpikeGuard()
    generator = np.random.default_rng(0)
    for step in range(200):
        values = (4 * 0.99**step + 1 + 0.2 * generator.standard_normal(4)).tolist()
        norms = np.exp(0.5 * generator.standard_normal(4)).tolist()
        assert guard.problem(values, norms) is None
        guard.take(values, norms)
    assert "the loss rose from" in guard.problem([guard.loss + 1.5] * 4, [1.0] * 4)
    assert "the gradient norm rose" in guard.problem([guard.loss] * 4, [100.0] * 4)
    assert guard.problem([guard.loss] * 4, [100.0, 1.0, 1.0, 1.0]) is None
    assert guard.problem([1.0, float("nan")], [1.0, 1.0]) == "the loss is nan"
    assert guard.problem([1.0, 1.0], [1.0, float("inf")]) == "the gradient norm is inf"


# === Measuring ===


def test_budget_moves_the_last_step(tmp_path, rows):
    said = []
    trainer, result = train(
        tmp_path, rows, make_plan(100_000), said=said, budget_seconds=4, checkpoint_seconds=0.3
    )
    assert trainer.plan.revisions and trainer.plan.last_step == result["steps"] < 100_000
    assert 3 < result["seconds"] < 8
    assert any("end with the budget" in line for line in said)
    rates = [trainer.plan.learning_rate(step) for step in range(result["steps"])]
    assert rates[-1] < 0.1 * max(rates)


def test_measuring_leaves_no_trace(rows):
    steps = make_steps()
    before = [np.array(v) for v in (*steps.model.variables, *steps.optimizer.variables)]
    assert 0 < measure_step_seconds(steps, rows, 8, 0.05) < 5
    after = [*steps.model.variables, *steps.optimizer.variables]
    for value, variable in zip(before, after, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)


def test_arithmetic_is_counted():
    assert training_flops_per_token(10, 5, 0.5, 2, 3, 7) == 3 * (20 + 5 + 4 * 2 * 3 * 7)
    model = make_steps().model
    # query, key, value and output, and the three matrices of the gated branch
    assert matrix_weights(model) == 4 * 16 * 16 + 3 * 16 * model.feed_forward_dim
    assert measure_peak("float32", 0.05) > 1e9
