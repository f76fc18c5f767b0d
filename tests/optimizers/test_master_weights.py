"""Training in bfloat16 on float32 master weights, against NumPy in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.layers import Dense, Embedding
from kerasllm.ops.adamw import adamw, current_master
from kerasllm.optimizers import Adam, AdamW

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
SHAPES = {"kernel": (17, 9), "bias": (9,), "gain": ()}
RATE = 1e-3


def rounded(values):
    return np.array(tf.cast(tf.constant(np.array(values)), "bfloat16"), "float32")


def make_variables(dtype="bfloat16"):
    random = np.random.default_rng(0)
    return [
        keras.Variable(rounded(random.normal(size=shape)), dtype=dtype, name=name)
        for name, shape in SHAPES.items()
    ]


def make_gradients(steps, dtype="bfloat16"):
    random = np.random.default_rng(1)
    return [
        [tf.cast(tf.constant(random.normal(1.0, 1.0, shape)), dtype) for shape in SHAPES.values()]
        for _ in range(steps)
    ]


def reference(steps, weight_decay=0.0, accumulated=1, clip=lambda gradients: gradients):
    """AdamW in float64 on the same gradients; lists of parameters, one a step."""
    parameters = [np.array(v, "float64") for v in make_variables("float32")]
    moments = [[np.zeros(v.shape), np.zeros(v.shape)] for v in parameters]
    gradients = [[np.array(tf.cast(g, "float64")) for g in step] for step in make_gradients(steps)]
    for step in range(1, steps // accumulated + 1):
        parts = gradients[(step - 1) * accumulated : step * accumulated]
        means = clip([sum(group) / accumulated for group in zip(*parts, strict=True)])
        for index, (p, (m, v), g) in enumerate(zip(parameters, moments, means, strict=True)):
            if list(SHAPES)[index] != "bias":
                p -= p * weight_decay * RATE
            m += (g - m) * (1 - 0.9)
            v += (g**2 - v) * (1 - 0.999)
            alpha = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            p -= m * alpha / (np.sqrt(v) + 1e-7)
    return parameters


def train(optimizer, steps, jit_compile=None, variables=None):
    variables = variables or make_variables()
    optimizer.build(variables)

    def step(*gradients):
        optimizer.apply(list(gradients), variables)

    step = step if jit_compile is None else tf.function(step, jit_compile=jit_compile)
    for gradients in make_gradients(steps):
        step(*gradients)
    return variables


def clip_by_global_norm(gradients, most=1.0):
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    return [g * min(1, most / norm) for g in gradients]


CONFIGURATIONS = {
    "plain": ({}, {}),
    "decay": ({"weight_decay": 0.1, "no_weight_decay": ["bias"]}, {"weight_decay": 0.1}),
    "global_clipnorm": ({"global_clipnorm": 1.0}, {"clip": clip_by_global_norm}),
    "clipvalue": (
        {"clipvalue": 0.3},
        {"clip": lambda gradients: [np.clip(g, -0.3, 0.3) for g in gradients]},
    ),
    "accumulation": ({"gradient_accumulation_steps": 4}, {"accumulated": 4}),
}


@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_masters_follow_float64_and_variables_are_the_masters_rounded(name, jit_compile):
    options, exact = CONFIGURATIONS[name]
    optimizer = AdamW(RATE, **{"weight_decay": 0.0, **options})
    variables = train(optimizer, 40, jit_compile)
    masters = optimizer.masters_of(variables)
    assert all(v.dtype == "bfloat16" for v in variables)
    assert all(v.dtype == "float32" for v in optimizer.variables if v.shape == (17, 9))
    for variable, master, expected in zip(variables, masters, reference(40, **exact), strict=True):
        np.testing.assert_allclose(master, expected, rtol=1e-5, atol=2e-6)
        np.testing.assert_array_equal(np.array(variable, "float32"), rounded(master))


def test_small_steps_are_lost_without_master_weights():
    """A thousand steps of 1e-5, each below half of a bfloat16's last bit."""

    def run(dtype, **options):
        variable = keras.Variable(np.full(64, 1.0), dtype=dtype)
        optimizer = Adam(1e-5, **options)
        optimizer.build([variable])
        step = tf.function(lambda: optimizer.apply([tf.ones(64, variable.dtype)], [variable]))
        for _ in range(1000):
            step()
        return np.array(variable, "float32")

    results = {
        "master": run("bfloat16"),
        "alone": run("bfloat16", master_weights=False),
        "float32": run("float32"),
    }
    np.testing.assert_array_equal(results["alone"], 1.0)
    np.testing.assert_allclose(results["float32"], 0.99, rtol=1e-4)
    np.testing.assert_array_equal(results["master"], rounded(results["float32"]))


def make_model(dtype="bfloat16", jit_compile=False, **options):
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((6,), dtype="int32"),
        Embedding(30, 8, dtype=dtype),
        keras.layers.Flatten(dtype=dtype),
        Dense(16, activation="gelu", dtype=dtype),
        keras.layers.Dense(3, dtype="float32"),
    ]
    model = keras.Sequential(layers)
    model.compile(AdamW(3e-4, weight_decay=0.01, **options), "mse", jit_compile=jit_compile)
    return model


def make_data():
    random = np.random.default_rng(0)
    ids = random.integers(0, 30, (64, 6))
    return ids, np.stack([ids.sum(1) / 90, ids[:, 0] / 30, ids[:, 1] / 30], 1)


def test_fit_in_bfloat16_learns_as_float32_does():
    losses = {}
    for name, model in {
        "float32": make_model("float32"),
        "master": make_model(),
        "alone": make_model(master_weights=False),
    }.items():
        history = model.fit(*make_data(), batch_size=16, epochs=60, verbose=0, shuffle=False)
        losses[name] = history.history["loss"][-1]
    assert losses["master"] == pytest.approx(losses["float32"], rel=0.1)
    assert losses["alone"] > 1.5 * losses["float32"]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_run_that_is_saved_and_loaded_goes_on_bit_by_bit(jit_compile, tmp_path):
    data, options = make_data(), {"global_clipnorm": 1.0, "gradient_accumulation_steps": 2}
    model = make_model(jit_compile=jit_compile, **options)
    for _ in range(6):
        model.train_on_batch(*data)
    other = make_model(jit_compile=jit_compile, **options)
    for _ in range(3):
        other.train_on_batch(*data)
    other.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for variable, expected in zip(
        loaded.optimizer.variables, other.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(variable, expected)
    for _ in range(3):
        loaded.train_on_batch(*data)
    for found, expected in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(np.array(found, "float32"), np.array(expected, "float32"))


@pytest.mark.parametrize("fused", [True, False])
def test_moving_averages_are_those_of_the_masters(fused, monkeypatch):
    """In Keras's path steps across a rounding were once taken back by the average."""
    optimizer = Adam(0.01, use_ema=True, ema_momentum=0.9)
    if not fused:
        monkeypatch.setattr(optimizer, "_served", lambda *_: False)
    variables = make_variables()
    plain = Adam(0.01)
    expected = train(plain, 20)
    optimizer.build(variables)
    average = None
    for gradients in make_gradients(20):
        optimizer.apply(gradients, variables)
        master = np.array(optimizer.masters_of(variables)[0], "float64")
        average = master if average is None else 0.9 * average + 0.1 * master
    np.testing.assert_allclose(master, plain.masters_of(expected)[0], rtol=1e-5, atol=1e-7)
    optimizer.finalize_variable_values(variables)
    np.testing.assert_allclose(optimizer.masters_of(variables)[0], average, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(
        np.array(variables[0], "float32"), rounded(optimizer.masters_of(variables)[0])
    )


@pytest.mark.parametrize("kwargs", [{}, {"amsgrad": True}])
def test_a_variable_that_was_assigned_counts(kwargs):
    """Loaded weights once would have been overwritten by the master weights of before."""
    optimizer = Adam(RATE, **kwargs)
    variables = train(optimizer, 3)
    before = [np.array(master) for master in optimizer.masters_of(variables)]
    changed = rounded(np.full((17, 9), 5.0))
    changed[0] = np.array(variables[0], "float32")[0]
    variables[0].assign(changed)
    optimizer.apply([tf.zeros_like(v.value) for v in variables], variables)
    after = [np.array(master) for master in optimizer.masters_of(variables)]
    assert np.abs(after[0][1:] - 5.0).max() < 2 * RATE
    # What nobody assigned goes on from the master's own bits.
    assert 0 < np.abs(after[0][0] - before[0][0]).max() < 2 * RATE
    assert np.abs(after[1] - before[1]).max() < 2 * RATE


def test_constraints_hold():
    variable = keras.Variable(np.full(5, 1e-3), dtype="bfloat16")
    variable.constraint = keras.constraints.NonNeg()
    optimizer = Adam(0.1)
    for _ in range(3):
        optimizer.apply([tf.ones(5, "bfloat16")], [variable])
    np.testing.assert_array_equal(np.array(variable, "float32"), 0.0)
    optimizer.apply([-10 * tf.ones(5, "bfloat16")], [variable])
    assert 0 < np.array(variable, "float32").max() < 0.1


@needs_native
def test_the_op_takes_the_step_of_mixed_variables_and_kerass_path_agrees(monkeypatch):
    from kerasllm.optimizers import adam

    def mixed():
        variables = make_variables()
        variables[1] = keras.Variable(np.array(variables[1], "float32"), name="bias")
        return variables

    calls, original = [], adam.adamw
    monkeypatch.setattr(adam, "adamw", lambda *a, **k: calls.append(1) or original(*a, **k))
    options = {"weight_decay": 0.1, "learning_rate_multipliers": {"kernel": 0.5}}
    fused, plain = AdamW(RATE, **options), AdamW(RATE, **options)
    monkeypatch.setattr(plain, "_served", lambda *_: False)
    found, expected = train(fused, 5, variables=mixed()), train(plain, 5, variables=mixed())
    assert len(calls) == 5 and fused.masters_of(found)[1] is None
    for mine, theirs in zip(fused.variables, plain.variables, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-8)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.array(mine, "float32"), np.array(theirs, "float32"))


def test_sparse_gradients_and_strategies_step_on_masters():
    results = []
    for distributed in (False, True):
        strategy = tf.distribute.OneDeviceStrategy("/cpu:0") if distributed else None
        with strategy.scope() if distributed else tf.name_scope("plain"):
            table = keras.Variable(np.ones((6, 2)), dtype="bfloat16")
            optimizer = Adam(1e-3)
            optimizer.build([table])
        for _ in range(4):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.gather(table.value, [1, 3]))
            gradient = tape.gradient(loss, table.value)
            assert isinstance(gradient, tf.IndexedSlices)
            if distributed:
                strategy.run(lambda g=gradient, t=table, o=optimizer: o.apply([g], [t]))
            else:
                optimizer.apply([gradient], [table])
        results.append(np.array(optimizer.masters_of([table])[0]))
    np.testing.assert_allclose(results[0][[1, 3]], 1 - 4e-3, rtol=1e-5)
    np.testing.assert_array_equal(results[0][[0, 2]], 1.0)
    np.testing.assert_array_equal(*results)


def test_config_and_float32_models_are_those_of_before():
    assert "master_weights" not in Adam().get_config()
    again = AdamW.from_config(AdamW(master_weights=False).get_config())
    assert again.master_weights is False
    assert again.get_config()["master_weights"] is False
    names = []
    for make in (AdamW, keras.optimizers.AdamW):
        optimizer = make(name="adam")
        optimizer.build(make_variables("float32"))
        names.append([variable.path for variable in optimizer.variables])
    assert names[0] == names[1]


def test_current_master_by_hand():
    master = tf.constant([1.0, 1.001, 2.0, np.nan])
    own = tf.constant([1.0, 1.0, 3.0, np.nan], tf.bfloat16)
    np.testing.assert_array_equal(current_master(master, own), [1.0, master[1], 3.0, np.nan])


@needs_native
@pytest.mark.parametrize("jit_compile", [False, True])
def test_what_does_not_fit_is_refused(jit_compile):
    from kerasllm_ops.adamw import adamw as fused

    def call(own):
        state = [tf.Variable(tf.zeros(3)) for _ in range(3)]

        @tf.function(jit_compile=jit_compile)
        def run():
            groups = [[variable] for variable in state]
            fused(*groups, [tf.ones(3)], 0.1, 0.1, 0.1, 0.1, 1e-7, rounded=[own])

        run()
        return state[0], own

    master, own = call(tf.Variable(tf.ones(3, tf.bfloat16)))
    np.testing.assert_array_equal(tf.cast(own, "float32"), rounded(master))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"rounded\[0\] has shape \[4\]"):
        call(tf.Variable(tf.ones(4, tf.bfloat16)))
    with pytest.raises(tf.errors.InvalidArgumentError):
        call(tf.Variable(tf.ones(3)))


def test_the_twin_rounds_too():
    """On variables that the op does not serve: float64 masters."""
    state = [keras.Variable(np.ones(4), dtype="float64") for _ in range(3)]
    own = keras.Variable(np.array([1.0, 1.0, 2.0, 1.0]), dtype="bfloat16")
    adamw(*[[v] for v in state], [tf.zeros(4, "float64")], 0.01, 1, rounded=[own])
    assert np.array(state[0])[2] == pytest.approx(2.0, abs=0.1)
    np.testing.assert_array_equal(np.array(own, "float32"), rounded(np.array(state[0])))
