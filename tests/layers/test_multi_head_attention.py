"""kerasllm's MultiHeadAttention and GroupQueryAttention against Keras's with the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasllm

pytestmark = pytest.mark.skipif(
    not kerasllm.native.in_use(), reason="the native library is not in use"
)

OPTIONS = {
    "multi_head": ("MultiHeadAttention", {"num_heads": 4, "key_dim": 8, "value_dim": 5}),
    "grouped": (
        "GroupQueryAttention",
        {"head_dim": 8, "num_query_heads": 4, "num_key_value_heads": 2},
    ),
}
both = pytest.mark.parametrize("kind", list(OPTIONS))


def pair(kind, dtype="float32", **options):
    """Keras's layer and ours with the same random weights."""
    name, sizes = OPTIONS[kind]
    layers = [
        getattr(m, name)(**sizes, **options, dtype=dtype) for m in (keras.layers, kerasllm.layers)
    ]
    for layer in layers:
        layer.build((None, None, 16), (None, None, 16))
    random = np.random.default_rng(2)
    layers[0].set_weights([random.normal(0, 0.3, w.shape) for w in layers[0].get_weights()])
    layers[1].set_weights(layers[0].get_weights())
    return layers


def sequences(*lengths, dtype="float32"):
    random = np.random.default_rng(0)
    return [tf.constant(random.normal(size=(3, length, 16)), dtype) for length in lengths]


def results_and_gradients(layer, query, value, **call):
    with tf.GradientTape() as tape:
        tape.watch([query, value])
        outputs = layer(query, value, **call)
        loss = tf.reduce_sum(tf.sin(tf.cast(outputs, "float32")))
    gradients = tape.gradient(loss, [query, value, *layer.trainable_variables])
    return [np.array(tf.cast(x, "float32")) for x in [outputs, *gradients]]


def operations(function, *arguments):
    graph = tf.function(function).get_concrete_function(*arguments).graph
    return {operation.type for operation in graph.get_operations()}


def masks(kind, query_length, key_length):
    random = np.random.default_rng(1)
    full = random.random((3, query_length, key_length)) < 0.6
    full[:, :, 0] = True  # Keras gives a query that sees nothing the mean of all values
    lengths = np.array([[1], [key_length // 2], [key_length]])
    return {
        "none": {},
        "causal": {"use_causal_mask": True},
        "attention": {"attention_mask": full},
        "attention and causal": {"attention_mask": full, "use_causal_mask": True},
        "per head": {"attention_mask": np.stack([full] * 4, axis=1)},
        "one for all": {"attention_mask": full[0]},
        "padding": {"value_mask": np.arange(key_length) < lengths},
        "padding and causal": {
            "value_mask": np.arange(key_length) < lengths,
            "use_causal_mask": True,
        },
        "numbers": {"attention_mask": full.astype("int32")},
        "repeated": {"attention_mask": np.ones((3, query_length, 1), bool)},
    }[kind]


MASKS = [
    "none",
    "causal",
    "attention",
    "attention and causal",
    "per head",
    "one for all",
    "padding",
    "padding and causal",
    "numbers",
    "repeated",
]


@both
@pytest.mark.parametrize("options", [{}, {"sliding_window": 4, "use_gate": True}])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("lengths", [(13, 13), (7, 21)])
def test_outputs_and_gradients_are_keras(kind, options, mask, lengths):
    if options and lengths != (13, 13):
        pytest.skip("queries past all keys see nothing in a window")
    if options and "attention" in mask:
        pytest.skip("a query may see nothing")
    stock, ours = pair(kind, **options)
    query, value = sequences(*lengths)
    call = masks(mask, *lengths)
    if options and "padding" in mask:
        call["value_mask"] = np.ones_like(call["value_mask"])
    theirs = results_and_gradients(stock, query, value, **call)
    mine = results_and_gradients(ours, query, value, **call)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    assert "KerasllmAttention" in operations(lambda q, v: ours(q, v, **call), query, value)


@both
def test_bfloat16_error_is_at_most_twice_keras(kind):
    exact_stock, _ = pair(kind)
    stock, ours = pair(kind, "mixed_bfloat16")
    query, value = sequences(97, 97)
    expected = results_and_gradients(exact_stock, query, value, use_causal_mask=True)
    mine = results_and_gradients(ours, query, value, use_causal_mask=True)
    theirs = results_and_gradients(stock, query, value, use_causal_mask=True)
    for a, b, exact in zip(mine, theirs, expected, strict=True):
        limit = 2 * np.abs(b - exact).max() + 1e-3
        assert np.abs(a - exact).max() <= limit


@both
@pytest.mark.parametrize("training", [False, True])
def test_keras_issue_23038_a_causal_mask_with_dropout_is_not_dropped(kind, training):
    """With dropout, a causal mask as the only one was once lost on the way."""
    stock, ours = pair(kind, dropout=0.3)
    (x,) = sequences(11)
    changed = x + tf.one_hot(10, 11)[None, :, None]  # in the last step only
    results = []
    for inputs in (x, changed):
        ours._dropout_layer.seed_generator.state.assign([5, 0])
        results.append(ours(inputs, inputs, use_causal_mask=True, training=training).numpy())
    np.testing.assert_array_equal(results[0][:, :10], results[1][:, :10])
    assert not np.array_equal(results[0][:, 10], results[1][:, 10])
    if not training:
        expected = stock(x, x, use_causal_mask=True)
        np.testing.assert_allclose(ours(x, x, use_causal_mask=True), expected, atol=1e-5)


@both
@pytest.mark.parametrize("training", [False, True])
def test_the_fused_path_holds_with_dropout(kind, training):
    """Keras's own flash attention is off whenever dropout > 0, even at inference."""
    stock, ours = pair(kind, dropout=0.5)
    query, value = sequences(9, 9)
    call = operations(lambda q, v: ours(q, v, training=training), query, value)
    assert "KerasllmAttention" in call
    mine, theirs = ours(query, value, training=training), stock(query, value, training=False)
    assert np.allclose(mine, theirs, atol=1e-5) is not training


@both
@pytest.mark.parametrize("jit_compile", [False, True])
def test_dropout_has_a_gradient_and_follows_the_seed(kind, jit_compile):
    _, ours = pair(kind, dropout=0.4, seed=3)
    query, value = sequences(9, 9)

    def gradient(query, value):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(ours(query, value, training=True) ** 2)
        return [loss, *tape.gradient(loss, ours.trainable_variables)]

    run = tf.function(gradient, jit_compile=jit_compile)
    state = ours._dropout_layer.seed_generator.state
    before = state.numpy().copy()
    first, second = run(query, value)[0], run(query, value)[0]
    assert first != second
    state.assign(before)
    compiled = run(query, value)
    state.assign(before)
    for mine, other in zip(compiled, gradient(query, value), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


def test_masks_of_an_embedding_reach_the_layer_and_padding_does_not_matter():
    tokens = np.array([[1, 2, 3, 0, 0], [3, 3, 1, 1, 2]])
    embedding = keras.layers.Embedding(4, 16, mask_zero=True)
    stock, ours = pair("multi_head")
    mine = ours(embedding(tokens), embedding(tokens))
    theirs = stock(embedding(tokens), embedding(tokens))
    real = tokens != 0
    np.testing.assert_allclose(mine.numpy()[real], theirs.numpy()[real], atol=1e-5)
    np.testing.assert_array_equal(mine._keras_mask, real)
    longer = np.pad(tokens, ((0, 0), (0, 4)))
    padded = ours(embedding(longer), embedding(longer)).numpy()
    np.testing.assert_allclose(padded[:, :5][real], mine.numpy()[real], atol=1e-6)


def test_a_query_that_sees_no_key_gives_zeros_before_the_projection():
    _, ours = pair("multi_head", use_bias=False)
    query, value = sequences(4, 6)
    outputs = ours(query, value, value_mask=np.zeros((3, 6), bool))
    np.testing.assert_array_equal(outputs, np.zeros((3, 4, 16)))


@both
def test_scores_and_other_dtypes_take_kerass_path(kind):
    stock, ours = pair(kind)
    query, value = sequences(5, 7)
    for mine, theirs in zip(
        ours(query, value, return_attention_scores=True),
        stock(query, value, return_attention_scores=True),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)
    stock, ours = pair(kind, "float64")
    query, value = sequences(5, 7, dtype="float64")
    np.testing.assert_array_equal(ours(query, value), stock(query, value))


def test_several_attention_axes_and_wide_heads_take_kerass_path():
    for options, shape in [
        ({"attention_axes": (1, 2)}, (2, 3, 4, 8)),
        ({"attention_axes": 2}, (2, 3, 4, 8)),
        ({"key_dim": 257}, (2, 3, 8)),
    ]:
        options = {"num_heads": 2, "key_dim": 4, **options}
        stock = keras.layers.MultiHeadAttention(**options)
        ours = kerasllm.layers.MultiHeadAttention(**options)
        x = np.random.default_rng(0).normal(size=shape).astype("float32")
        stock.build(shape, shape), ours.build(shape, shape)
        ours.set_weights(stock.get_weights())
        np.testing.assert_array_equal(ours(x, x), stock(x, x))


@both
def test_models_train_alike_with_and_without_jit(kind):
    query, _ = sequences(12, 12)
    losses = []
    for layer, jit_compile in zip([*pair(kind), pair(kind)[1]], (False, False, True), strict=True):
        inputs = keras.Input((None, 16))
        outputs = keras.layers.Dense(1, kernel_initializer="ones")(
            layer(inputs, inputs, use_causal_mask=True)
        )
        model = keras.Model(inputs, outputs)
        model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=jit_compile)
        losses.append(model.fit(query, np.ones((3, 12, 1)), epochs=3, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    np.testing.assert_allclose(losses[2], losses[1], rtol=1e-5)


@both
def test_weights_and_config_go_both_ways(kind, tmp_path):
    stock, ours = pair(kind, dropout=0.1)
    assert ours.get_config().keys() == stock.get_config().keys()
    assert [w.path.split("/", 1)[1] for w in ours.weights] == [
        w.path.split("/", 1)[1] for w in stock.weights
    ]
    inputs = keras.Input((None, 16))
    model = keras.Model(inputs, ours(inputs, inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is type(ours)
    (x,) = sequences(6)
    np.testing.assert_array_equal(loaded(x), model(x))
    other = keras.Model(inputs, stock(inputs, inputs))
    other.save_weights(tmp_path / "stock.weights.h5")
    model.set_weights([w * 0 for w in model.get_weights()])
    model.load_weights(tmp_path / "stock.weights.h5")
    np.testing.assert_allclose(model(x), other(x), atol=1e-5)
