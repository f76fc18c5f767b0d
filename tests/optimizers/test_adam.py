"""kerasllm.optimizers against keras.optimizers: same numbers, config, states, tests."""

import keras
import keras_own_tests
import numpy as np
import pytest
import tensorflow as tf

import kerasllm
from kerasllm import native

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
PAIRS = {
    "Adam": (kerasllm.optimizers.Adam, keras.optimizers.Adam),
    "AdamW": (kerasllm.optimizers.AdamW, keras.optimizers.AdamW),
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("case_class", "method"),
    keras_own_tests.collect("keras.src.optimizers.adam_test", "keras.src.optimizers.adamw_test"),
)
def test_keras_own(case_class, method, monkeypatch):
    from keras.src.optimizers import adam_test, adamw_test

    monkeypatch.setattr(adam_test, "Adam", kerasllm.optimizers.Adam)
    monkeypatch.setattr(adamw_test, "AdamW", kerasllm.optimizers.AdamW)
    keras_own_tests.run(case_class, method)


class OpCalls:
    """Counts the calls of the fused op."""

    def __init__(self, monkeypatch):
        from kerasllm.optimizers import adam

        self.count, original = 0, adam.adamw

        def counted(*args, **kwargs):
            self.count += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(adam, "adamw", counted)


def make_variables(dtype="float32"):
    random = np.random.default_rng(0)
    shapes = {"kernel": (40, 30), "bias": (30,), "gain": ()}
    return [
        keras.Variable(random.normal(size=shape), dtype=dtype, name=name)
        for name, shape in shapes.items()
    ]


def train(optimizer, jit_compile=None, steps=7, dtype="float32", prepare=lambda optimizer: None):
    """Some steps with seeded gradients; the values of all variables then."""
    variables = make_variables(dtype)
    prepare(optimizer)
    optimizer.build(variables)
    random = np.random.default_rng(1)
    gradients = [[random.normal(size=v.shape) for v in variables] for _ in range(steps)]

    def step(*grads):
        optimizer.apply(list(grads), variables)

    step = step if jit_compile is None else tf.function(step, jit_compile=jit_compile)
    for grads in gradients:
        step(*(tf.constant(g, dtype) for g in grads))
    return [np.array(v) for v in [*variables, *optimizer.variables]]


def schedule():
    return keras.optimizers.schedules.CosineDecay(0.01, 20)


CONFIGURATIONS = {
    "default": {},
    "betas": {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-5},
    "schedule": {"learning_rate": schedule()},
    "function": {"learning_rate": lambda: 0.02},
    "clipnorm": {"clipnorm": 0.3},
    "clipvalue": {"clipvalue": 0.1},
    "global_clipnorm": {"global_clipnorm": 1.0},
    "weight_decay": {"weight_decay": 0.1},
    "ema": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
    "accumulation": {"gradient_accumulation_steps": 3, "weight_decay": 0.1, "clipnorm": 0.3},
    "loss_scale": {"loss_scale_factor": 128.0},
}


@needs_native
@pytest.mark.parametrize("jit_compile", [None, False])
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_numbers_are_those_of_keras(configuration, name, jit_compile, monkeypatch):
    mine, theirs = (make(**CONFIGURATIONS[configuration]) for make in PAIRS[name])
    calls = OpCalls(monkeypatch)
    found = train(mine, jit_compile)
    assert calls.count > 0
    for value, expected in zip(found, train(theirs, jit_compile), strict=True):
        if configuration == "global_clipnorm":  # the norm's sum has an order of its own
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
        else:
            np.testing.assert_array_equal(value, expected)


@needs_native
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_numbers_under_xla(configuration, monkeypatch):
    mine, theirs = (make(**CONFIGURATIONS[configuration]) for make in PAIRS["AdamW"])
    calls = OpCalls(monkeypatch)
    found = train(mine, jit_compile=True)
    assert calls.count > 0
    for value, expected in zip(found, train(theirs), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kwargs", [{"amsgrad": True}, {}])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_what_the_op_does_not_serve_takes_kerass_path(dtype, kwargs, monkeypatch):
    kwargs = {**kwargs, "weight_decay": 0.1, "global_clipnorm": 1.0}
    (make, theirs), calls = PAIRS["AdamW"], OpCalls(monkeypatch)
    theirs = theirs(**kwargs)
    found = train(make(**kwargs, master_weights=False), dtype=dtype)
    if kwargs.get("amsgrad") or dtype != "float32" or not native.in_use():
        assert calls.count == 0
    for value, expected in zip(found, train(theirs, dtype=dtype), strict=True):
        np.testing.assert_allclose(
            value.astype("float64"), expected.astype("float64"), rtol=1e-5, atol=1e-7
        )


def test_sparse_gradients_take_kerass_path():
    results = []
    for make in PAIRS["Adam"]:
        table = keras.Variable(np.ones((6, 2)), dtype="float32")
        optimizer = make(0.1, global_clipnorm=1.0)
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.gather(table.value, [1, 3, 1]) ** 2)
            gradient = tape.gradient(loss, table.value)
            assert isinstance(gradient, tf.IndexedSlices)
            optimizer.apply([gradient], [table])
        results.append(np.array(table))
    np.testing.assert_array_equal(*results)


@needs_native
def test_variables_excluded_from_weight_decay():
    results = [
        train(
            make(weight_decay=0.5),
            prepare=lambda optimizer: optimizer.exclude_from_weight_decay(var_names=["bias"]),
        )
        for make in PAIRS["AdamW"]
    ]
    for value, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(value, expected)
    decayed = train(kerasllm.optimizers.AdamW(weight_decay=0.5))
    assert np.array_equal(results[0][0], decayed[0])
    assert not np.array_equal(results[0][1], decayed[1])


@pytest.mark.parametrize("kwargs", [{}, {"amsgrad": True}, {"gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("name", PAIRS)
def test_multipliers_are_learning_rates_of_variables(name, kwargs):
    """Each variable is where Keras's optimizer with the multiplied learning rate brings it."""
    make, theirs = PAIRS[name]
    kwargs = {**kwargs, "weight_decay": 0.1, "global_clipnorm": 1.0}
    multipliers = {"kernel": 0.5, "bias": 0.0, "gai": 7.0}
    found = train(make(0.01, learning_rate_multipliers=multipliers, **kwargs))
    for index, rate in enumerate([0.005, 0.0, 0.01]):
        expected = train(theirs(rate, **kwargs))[index]
        np.testing.assert_allclose(found[index], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found[1], np.array(make_variables()[1]))


def test_the_longest_path_holds_and_whole_names_count():
    optimizer = kerasllm.optimizers.AdamW(
        learning_rate_multipliers={"block_1": 0.5, "block_1/attention": 0.25}
    )

    class Variable:
        def __init__(self, path):
            self.path = path

    paths = {"block_1/norm/gamma": 0.5, "block_1/attention/query/bias": 0.25, "block_10/bias": 1.0}
    for path, multiplier in {**paths, "block_1": 0.5, "bias": 1.0}.items():
        assert optimizer.learning_rate_multiplier(Variable(path)) == multiplier
    with pytest.raises(ValueError, match="multiplier of 'block_1' is -1"):
        kerasllm.optimizers.Adam(learning_rate_multipliers={"block_1": -1})


def test_multipliers_and_exclusions_are_in_the_config():
    arguments = {"learning_rate_multipliers": {"kernel": 0.5}, "no_weight_decay": ["bias", "gain"]}
    optimizer = kerasllm.optimizers.AdamW(0.1, weight_decay=0.5, **arguments)
    serialized = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(serialized)
    assert {name: serialized["config"][name] for name in arguments} == arguments
    plain = train(kerasllm.optimizers.AdamW(0.1, weight_decay=0.0))
    for value, expected, free in zip(train(optimizer), train(again), plain, strict=True):
        np.testing.assert_array_equal(value, expected)
        if value.shape in ((30,), ()):
            np.testing.assert_array_equal(value, free)


@needs_native
def test_a_variable_without_gradient_is_left_alone():
    variables = make_variables()
    before = np.array(variables[1])
    optimizer = kerasllm.optimizers.Adam()
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([tf.ones((40, 30)), None, tf.ones(())], variables)
    np.testing.assert_array_equal(variables[1], before)


@pytest.mark.parametrize("name", PAIRS)
def test_config_state_names_and_states_go_both_ways(name, tmp_path):
    mine, theirs = PAIRS[name]
    optimizers = [make(0.02, name="adam") for make in (mine, theirs)]
    assert optimizers[0].get_config() == optimizers[1].get_config()
    assert type(mine.from_config(optimizers[1].get_config())) is mine
    serialized = keras.optimizers.serialize(optimizers[0])
    assert serialized["registered_name"] == f"kerasllm>{name}"
    assert type(keras.optimizers.deserialize(serialized)) is mine
    values = train(optimizers[0])[3:]
    optimizers[1].build(make_variables())
    assert [v.path for v in optimizers[0].variables] == [v.path for v in optimizers[1].variables]
    optimizers[1].set_weights(values)
    for variable, value in zip(optimizers[1].variables, values, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_fit_save_and_go_on(policy, jit_compile, tmp_path):
    """A model trained on, saved in between, ends where one trained in one go does."""

    def make():
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((5,), dtype="int32"),
                kerasllm.layers.Embedding(20, 8, dtype=policy),
                keras.layers.Flatten(),
                keras.layers.Dense(3, dtype=policy),
            ]
        )
        optimizer = kerasllm.optimizers.AdamW(schedule(), global_clipnorm=1.0)
        model.compile(optimizer, "mse", jit_compile=jit_compile)
        return model

    random = np.random.default_rng(0)
    data = random.integers(0, 20, (8, 5)), random.normal(size=(8, 3))
    model = make()
    before = model.get_weights()
    for _ in range(4):
        model.train_on_batch(*data)
    assert all(not np.array_equal(*w) for w in zip(before, model.get_weights(), strict=True))
    other = make()
    for _ in range(2):
        other.train_on_batch(*data)
    other.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is kerasllm.optimizers.AdamW
    for _ in range(2):
        loaded.train_on_batch(*data)
    for value, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_under_a_distribution_strategy_and_in_a_loss_scale_optimizer():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    results = []
    for make in PAIRS["Adam"]:
        with strategy.scope():
            keras.utils.set_random_seed(0)
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
            model.compile(make(0.1, weight_decay=0.1, clipnorm=0.1), "mse")
        model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
        results.append(model.get_weights()[0])
    np.testing.assert_array_equal(*results)
    results = []
    for make in PAIRS["Adam"]:
        optimizer = keras.optimizers.LossScaleOptimizer(make(0.1), initial_scale=4.0)
        variable = keras.Variable(np.ones(5), dtype="float32")
        for gradient in (1.0, np.inf, 2.0):
            optimizer.apply([tf.fill((5,), tf.constant(gradient))], [variable])
        results.append(np.array(variable))
    np.testing.assert_array_equal(*results)
