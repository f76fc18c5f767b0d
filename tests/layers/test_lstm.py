"""kerasllm.layers.LSTM against keras.layers.LSTM with the same weights."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasllm

pytestmark = pytest.mark.skipif(
    not kerasllm.native.in_use(), reason="the native library is not in use"
)


def make_mask(kind, batch, time, seed=3):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, time + 1, batch)
    lengths[0] = 0  # one row without any step
    steps = np.arange(time)
    return {
        "none": None,
        "right": steps < lengths[:, None],
        "left": steps >= time - lengths[:, None],
        "scattered": random.random((batch, time)) < 0.6,
    }[kind]


def pair(units, input_dim, **options):
    """Keras's layer and ours with the same random weights."""
    keras.utils.set_random_seed(1)
    layers = [cls(units, **options) for cls in (keras.layers.LSTM, kerasllm.layers.LSTM)]
    for layer in layers:
        layer.build((None, None, input_dim))
    random = np.random.default_rng(2)
    layers[0].set_weights([random.normal(0, 0.4, w.shape) for w in layers[0].get_weights()])
    layers[1].set_weights(layers[0].get_weights())
    return layers


def results_and_gradients(layer, inputs, **call):
    """All outputs of a layer, and the gradients of a weighted sum of them."""
    inputs = tf.constant(inputs, layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        results = tf.nest.flatten(layer(inputs, **call))
        loss = tf.add_n(
            [
                tf.reduce_sum(
                    tf.cast(r, "float64") * np.sin(np.arange(np.prod(r.shape)) + i).reshape(r.shape)
                )
                for i, r in enumerate(results)
            ]
        )
    gradients = tape.gradient(loss, [inputs, *layer.trainable_variables])
    return [np.array(tf.cast(x, "float64")) for x in [*results, *gradients]]


def assert_all_close(ours, theirs, tolerance):
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


def operations(function, *arguments):
    """Names of the TensorFlow ops in the function's graph."""
    graph = tf.function(function).get_concrete_function(*arguments).graph
    return {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize("mask", ["none", "right", "left", "scattered"])
@pytest.mark.parametrize(
    ("go_backwards", "return_sequences", "zero_output_for_mask"),
    list(itertools.product([False, True], repeat=3)),
)
def test_outputs_states_and_gradients_are_keras(
    mask, go_backwards, return_sequences, zero_output_for_mask
):
    stock, ours = pair(
        17,
        5,
        go_backwards=go_backwards,
        return_sequences=return_sequences,
        return_state=True,
        zero_output_for_mask=zero_output_for_mask,
    )
    random = np.random.default_rng(0)
    inputs = random.normal(size=(6, 9, 5)).astype("float32")
    state = [tf.constant(random.normal(size=(6, 17)), "float32") for _ in range(2)]
    call = {"mask": make_mask(mask, 6, 9), "initial_state": state, "training": True}
    assert_all_close(
        results_and_gradients(ours, inputs, **call),
        results_and_gradients(stock, inputs, **call),
        2e-5,
    )


@pytest.mark.parametrize(
    ("batch", "time", "input_dim", "units"),
    [(1, 1, 1, 1), (1, 16, 7, 32), (5, 3, 1, 65), (33, 2, 100, 48), (2, 130, 3, 8)],
)
def test_odd_sizes(batch, time, input_dim, units):
    stock, ours = pair(units, input_dim, return_sequences=True)
    inputs = np.random.default_rng(0).normal(size=(batch, time, input_dim)).astype("float32")
    assert_all_close(
        results_and_gradients(ours, inputs, training=True),
        results_and_gradients(stock, inputs, training=True),
        5e-5,
    )


def test_gradient_without_training_runs_forward_again():
    stock, ours = pair(8, 4)
    inputs = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    assert_all_close(
        results_and_gradients(ours, inputs, training=False),
        results_and_gradients(stock, inputs, training=False),
        2e-5,
    )


@pytest.mark.parametrize("options", [{"dropout": 0.4}, {"use_bias": False}, {"unroll": True}])
def test_served_options_are_fused_and_keras(options):
    stock, ours = pair(8, 4, seed=11, **options)
    inputs = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    assert_all_close(
        results_and_gradients(ours, inputs, training=True),
        results_and_gradients(stock, inputs, training=True),
        2e-5,
    )
    assert "KerasllmLstm" in operations(lambda x: ours(x, training=True), tf.constant(inputs))


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"recurrent_dropout": 0.3},
        {"dropout": 0.3, "implementation": 1, "use_cudnn": False},
        {"dtype": "float16"},
        {"dtype": "float64"},
    ],
)
def test_what_the_op_does_not_serve_takes_keras_path(options):
    stock, ours = pair(8, 4, seed=5, **options)
    inputs = tf.constant(np.random.default_rng(0).normal(size=(3, 5, 4)), ours.compute_dtype)
    assert "KerasllmLstm" not in operations(lambda x: ours(x, training=True), inputs)
    np.testing.assert_array_equal(ours(inputs, training=True), stock(inputs, training=True))


def test_dropout_with_implementation_1_does_not_try_cudnn():
    """Keras's own layer fails here unless use_cudnn=False: its cuDNN path takes one mask only."""
    _, ours = pair(8, 4, dropout=0.3, implementation=1)
    assert ours(tf.ones((3, 5, 4)), training=True).shape == (3, 8)


def test_recurrent_dropout_is_fused_where_it_is_off():
    _, ours = pair(8, 4, recurrent_dropout=0.3)
    inputs = tf.zeros((3, 5, 4))
    assert "KerasllmLstm" in operations(lambda x: ours(x, training=False), inputs)


def test_stateful_carries_state_between_calls():
    random = np.random.default_rng(0)
    batches = random.normal(size=(3, 4, 5, 3)).astype("float32")
    layers = []
    for cls in (keras.layers.LSTM, kerasllm.layers.LSTM):
        keras.utils.set_random_seed(4)
        layer = cls(6, stateful=True)
        layer.build((4, 5, 3))
        layers.append(layer)
    layers[1].set_weights(layers[0].get_weights())
    for batch in batches:
        np.testing.assert_allclose(layers[1](batch), layers[0](batch), rtol=1e-5, atol=1e-6)
    layers[1].reset_state()
    layers[0].reset_state()
    np.testing.assert_allclose(layers[1](batches[0]), layers[0](batches[0]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_bidirectional_with_mask(merge_mode, return_sequences):
    models = []
    for cls in (keras.layers.LSTM, kerasllm.layers.LSTM):
        keras.utils.set_random_seed(4)
        inner = cls(6, return_sequences=return_sequences)
        models.append(keras.layers.Bidirectional(inner, merge_mode=merge_mode))
    inputs = np.random.default_rng(0).normal(size=(5, 7, 3)).astype("float32")
    mask = make_mask("right", 5, 7)
    stock, ours = (model(inputs, mask=mask) for model in models)
    assert isinstance(models[1].backward_layer, kerasllm.layers.LSTM)
    np.testing.assert_allclose(ours, stock, rtol=1e-5, atol=1e-6)


def test_checkpoints_go_both_ways(tmp_path):
    for first, second in itertools.permutations([keras.layers.LSTM, kerasllm.layers.LSTM]):
        models = []
        for cls in (first, second):
            models.append(keras.Sequential([keras.Input((None, 3)), cls(5, name="lstm")]))
        models[0].save_weights(tmp_path / "a.weights.h5")
        models[1].load_weights(tmp_path / "a.weights.h5")
        x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
        np.testing.assert_allclose(models[1](x), models[0](x), rtol=1e-5, atol=1e-6)


def test_config_is_keras():
    arguments = {"units": 4, "dropout": 0.1, "return_sequences": True, "kernel_regularizer": "l2"}
    ours = kerasllm.layers.LSTM(**arguments, name="x").get_config()
    stock = keras.layers.LSTM(**arguments, name="x").get_config()
    assert ours == stock
    assert kerasllm.layers.LSTM.from_config(ours).get_config() == ours


def errors_to_float64(dtype, stock, ours, inputs, mask):
    """The largest error of both layers' results and gradients against Keras's in float64."""
    exact = keras.layers.LSTM(stock.units, return_sequences=True, dtype="float64")
    exact.build((None, None, inputs.shape[-1]))
    exact.set_weights([np.array(w, "float64") for w in stock.get_weights()])
    # Both see what is left of the inputs and the weights after rounding.
    if dtype != "float32":
        exact.set_weights(
            [np.array(tf.cast(tf.cast(w, dtype), "float64")) for w in stock.get_weights()]
        )
    rounded = np.array(tf.cast(tf.cast(inputs, dtype), "float64"))
    reference = results_and_gradients(exact, rounded, mask=mask, training=True)
    for layer in (stock, ours):
        found = results_and_gradients(layer, inputs, mask=mask, training=True)
        yield [np.abs(a - b).max() for a, b in zip(found, reference, strict=True)]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("mask", ["none", "right"])
def test_errors_are_at_most_twice_those_of_keras(policy, mask):
    stock, ours = pair(48, 40, return_sequences=True, dtype=policy)
    inputs = np.random.default_rng(0).normal(size=(9, 60, 40)).astype("float32")
    dtype = keras.DTypePolicy(policy).compute_dtype
    stock_errors, our_errors = errors_to_float64(dtype, stock, ours, inputs, make_mask(mask, 9, 60))
    names = ["outputs", "d_inputs", "d_kernel", "d_recurrent_kernel", "d_bias"]
    for name, theirs, mine in zip(names, stock_errors, our_errors, strict=True):
        assert mine <= 2 * theirs, f"{name}: ours {mine}, Keras's {theirs}"


def test_trains_like_keras():
    losses = []
    for cls in (keras.layers.LSTM, kerasllm.layers.LSTM):
        keras.utils.set_random_seed(9)
        model = keras.Sequential(
            [keras.Input((None, 3)), keras.layers.Masking(), cls(8), keras.layers.Dense(1)]
        )
        model.compile("adam", "mse")
        random = np.random.default_rng(0)
        x, y = random.normal(size=(32, 7, 3)), random.normal(size=(32, 1))
        x[::3, 4:] = 0.0
        losses.append(model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0))
    np.testing.assert_allclose(*(run.history["loss"] for run in losses), rtol=1e-5)


def test_nan_in_is_nan_out():
    _, ours = pair(8, 4, return_sequences=True)
    inputs = np.zeros((2, 5, 4), "float32")
    inputs[0, 2, 1] = np.nan
    outputs = np.array(ours(inputs))
    assert np.isnan(outputs[0, 2:]).all()
    assert np.isfinite(outputs[0, :2]).all() and np.isfinite(outputs[1]).all()


def test_second_derivative_is_a_clear_error():
    _, ours = pair(4, 3)
    inputs = tf.constant(np.ones((2, 3, 3), "float32"))
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            loss = tf.reduce_sum(ours(inputs, training=True))
        gradient = inner.gradient(loss, inputs)
    with pytest.raises(NotImplementedError, match="KERASLLM_NATIVE=0"):
        outer.gradient(gradient, inputs)


def test_exports_as_saved_model(tmp_path):
    model = keras.Sequential([keras.Input((None, 3)), kerasllm.layers.LSTM(5)])
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.serve(x), model(x))


def test_jit_compile_trains_to_the_same_losses():
    losses = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(9)
        model = keras.Sequential(
            [
                keras.Input((7, 3)),
                keras.layers.Masking(),
                kerasllm.layers.LSTM(8),
                keras.layers.Dense(1),
            ]
        )
        model.compile("adam", "mse", jit_compile=jit_compile)
        random = np.random.default_rng(0)
        x, y = random.normal(size=(32, 7, 3)), random.normal(size=(32, 1))
        x[::3, 4:] = 0.0
        losses.append(model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0))
    np.testing.assert_allclose(*(run.history["loss"] for run in losses), rtol=1e-5)
