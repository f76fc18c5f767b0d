"""kerasllm.ops.linear_cross_entropy: the composed form against NumPy in float64 and finite
differences, the fused against it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.ops import gather_positions
from kerasllm.ops.linear_cross_entropy import composed_linear_cross_entropy, linear_cross_entropy

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")

IGNORED = -100
OPTIONS = [{}, {"label_smoothing": 0.1}, {"z_loss": 0.02}, {"label_smoothing": 0.3, "z_loss": 0.1}]


def arguments(rows=13, vocabulary=17, dim=5, dtype="float64", ignore="some", seed=0, spread=1.0):
    """hidden_states, kernel, bias and labels."""
    random = np.random.default_rng(seed)
    tensors = [
        tf.constant(random.normal(0, 1, (rows, dim)), dtype),
        tf.constant(random.normal(0, spread / dim**0.5, (vocabulary, dim)), dtype),
        tf.constant(
            random.normal(0, 0.5, vocabulary), "float64" if dtype == "float64" else "float32"
        ),
    ]
    labels = random.integers(0, vocabulary, rows).astype("int32")
    if ignore == "some":
        labels[random.random(rows) < 0.4] = IGNORED
    if ignore == "all":
        labels[:] = IGNORED
    return tensors, labels


def results_and_gradients(function, tensors, labels, weights, **options):
    """Losses, correct, and the gradients of a weighted sum of the losses, as float64."""
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        hidden_states, kernel, *bias = tensors
        losses, correct = function(hidden_states, kernel, labels, *bias, **options)
        loss = tf.reduce_sum(tf.cast(losses, "float64") * weights)
    gradients = tape.gradient(loss, tensors)
    return [np.array(tf.cast(x, "float64")) for x in (losses, correct, *gradients)]


def numpy_reference(tensors, labels, label_smoothing=0.0, z_loss=0.0):
    hidden_states, kernel, bias = (np.array(t) for t in tensors)
    logits = hidden_states @ kernel.T + bias
    largest = logits.max(-1, keepdims=True)
    lse = np.log(np.exp(logits - largest).sum(-1)) + largest[:, 0]
    target = np.eye(kernel.shape[0])[np.maximum(labels, 0)] * (1 - label_smoothing)
    target += label_smoothing / kernel.shape[0]
    losses = (target * (lse[:, None] - logits)).sum(-1) + z_loss * lse**2
    return np.where(labels == IGNORED, 0, losses), logits.argmax(-1) == labels


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("ignore", ["none", "some", "all"])
def test_composed_is_numpy(options, ignore):
    tensors, labels = arguments(ignore=ignore)
    hidden_states, kernel, bias = tensors
    losses, correct = composed_linear_cross_entropy(hidden_states, kernel, labels, bias, **options)
    expected, expected_correct = numpy_reference(tensors, labels, **options)
    np.testing.assert_allclose(losses, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(correct, expected_correct)


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1]])
def test_composed_gradients_by_finite_differences(options):
    tensors, labels = arguments(rows=4, vocabulary=3, dim=2)

    def loss(hidden_states, kernel, bias):
        losses, _ = composed_linear_cross_entropy(hidden_states, kernel, labels, bias, **options)
        return tf.reduce_sum(tf.sin(losses))

    theory, numeric = tf.test.compute_gradient(loss, tensors, delta=1e-5)
    for a, b in zip(theory, numeric, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


@needs_native
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    ("rows", "vocabulary", "dim", "ignore", "bias"),
    [
        (1, 1, 1, "none", True),
        (97, 17, 59, "some", True),
        (97, 1000, 59, "none", False),
        (97, 130, 64, "all", True),
        (600, 40, 8, "some", True),
    ],
)
def test_fused_is_composed(rows, vocabulary, dim, ignore, bias, options, weighted, training):
    tensors, labels = arguments(rows, vocabulary, dim, "float32", ignore)
    tensors = tensors if bias else tensors[:2]
    exact = [tf.cast(t, "float64") for t in tensors]
    weights = np.random.default_rng(5).normal(size=rows) if weighted else np.full(rows, 1 / rows)
    mine = results_and_gradients(
        linear_cross_entropy, tensors, labels, weights, training=training, **options
    )
    other = results_and_gradients(composed_linear_cross_entropy, exact, labels, weights, **options)
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1e-2, np.abs(b).max()))


def stock_linear_cross_entropy(hidden_states, kernel, labels, bias):
    """What a Keras user writes: a product and SparseCategoricalCrossentropy."""
    logits = keras.ops.matmul(hidden_states, keras.ops.transpose(kernel))
    logits = logits + keras.ops.cast(bias, logits.dtype)
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return losses, keras.ops.argmax(logits, -1) == keras.ops.cast(labels, "int32")


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("rows", "vocabulary", "dim"), [(97, 1000, 59), (150, 21128, 64)])
def test_errors_are_at_most_twice_those_of_keras(rows, vocabulary, dim, dtype):
    tensors, labels = arguments(rows, vocabulary, dim, dtype, "none", spread=3.0)
    exact = [tf.cast(t, "float64") for t in tensors]
    weights = np.full(rows, 1 / rows)
    expected = results_and_gradients(composed_linear_cross_entropy, exact, labels, weights)
    stock = results_and_gradients(stock_linear_cross_entropy, tensors, labels, weights)
    ours = results_and_gradients(linear_cross_entropy, tensors, labels, weights, training=True)
    names = ["losses", "correct", "d_hidden_states", "d_kernel", "d_bias"]
    for name, mine, theirs, right in zip(names, ours, stock, expected, strict=True):
        if name != "correct":
            error, bound = np.abs(mine - right).max(), 2 * np.abs(theirs - right).max()
            assert error <= bound, f"{name}: ours {error}, twice Keras's {bound}"


@needs_native
@pytest.mark.parametrize("spread", [1e3, 1e6])
def test_huge_logits_do_not_overflow(spread):
    tensors, labels = arguments(50, 300, 16, "float32", "none", spread=spread)
    exact = [tf.cast(t, "float64") for t in tensors]
    weights = np.ones(50)
    mine = results_and_gradients(linear_cross_entropy, tensors, labels, weights, training=True)
    other = results_and_gradients(composed_linear_cross_entropy, exact, labels, weights)
    np.testing.assert_allclose(mine[0], other[0], rtol=1e-5, atol=1e-6 * spread)
    assert all(np.isfinite(x).all() for x in mine)


@needs_native
def test_classes_of_minus_infinity_are_out():
    tensors, labels = arguments(20, 300, 16, "float32", "none")
    labels %= 100
    bias = np.array(tensors[2])
    bias[100:] = -np.inf
    weights = np.ones(20)
    full = [*tensors[:2], tf.constant(bias)]
    mine = results_and_gradients(linear_cross_entropy, full, labels, weights, training=True)
    part = [tensors[0], tensors[1][:100], tensors[2][:100]]
    other = results_and_gradients(linear_cross_entropy, part, labels, weights, training=True)
    for a, b in zip(mine[:3], other[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert (mine[3][100:] == 0).all() and (mine[4][100:] == 0).all()


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nan_in_is_nan_out(dtype):
    tensors, labels = arguments(70, 200, 16, dtype, "none")
    values = np.array(tensors[0])
    values[3, 2] = np.nan
    tensors[0] = tf.constant(values)
    losses, correct, d_hidden, d_kernel, _ = results_and_gradients(
        linear_cross_entropy, tensors, labels, np.ones(70), training=True
    )
    assert np.isnan(losses[3]) and not correct[3] and np.isnan(d_hidden[3]).all()
    others = np.arange(70) != 3
    assert np.isfinite(losses[others]).all() and np.isfinite(d_hidden[others]).all()
    assert np.isnan(d_kernel).all()


@needs_native
def test_what_is_ignored_does_not_count_whatever_it_holds():
    tensors, labels = arguments(70, 200, 16, "float32", "some")
    values = np.array(tensors[0])
    values[labels == IGNORED] = np.nan
    weights = np.where(labels == IGNORED, np.inf, 1.0)
    with np.errstate(invalid="ignore"):
        spoiled = results_and_gradients(
            linear_cross_entropy,
            [tf.constant(values), *tensors[1:]],
            labels,
            weights,
            training=True,
        )
    clean = results_and_gradients(linear_cross_entropy, tensors, labels, np.ones(70), training=True)
    for a, b in zip(spoiled, clean, strict=True):
        np.testing.assert_array_equal(a, b)


@needs_native
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("label", [17, -1])
def test_a_label_out_of_range_is_named(label, jit_compile, device):
    if device == "GPU":
        pytest.skip("a GPU gives NaN (linear_cross_entropy_cuda.h)")
    tensors, labels = arguments(dtype="float32", ignore="none")
    labels[5:7] = label
    function = tf.function(linear_cross_entropy, jit_compile=jit_compile)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"label of row 5 is {label}, .*17"):
        function(*tensors[:2], tf.constant(labels))


@needs_native
@pytest.mark.parametrize(
    ("position", "shape", "message"),
    [
        (0, (13,), "hidden_states has shape|rank"),
        (1, (17, 4), r"kernel has shape \[17,4\], expected \[17,5\]|Dimensions"),
        (2, (16,), r"bias has shape \[16\], expected \[17\]|Dimensions"),
        (3, (12,), r"labels has shape \[12\], expected \[13\]|Dimensions"),
    ],
)
def test_shapes_that_do_not_fit_are_named(position, shape, message):
    from kerasllm_ops.linear_cross_entropy import linear_cross_entropy as op

    tensors, labels = arguments(dtype="float32")
    values = [*tensors, labels]
    values[position] = tf.zeros(shape, "int32" if position == 3 else "float32")
    hidden_states, kernel, bias, labels = values
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        op(hidden_states, kernel, labels, bias)


@needs_native
@pytest.mark.parametrize("options", [{"label_smoothing": 1.5}, {"z_loss": -1.0}])
def test_options_out_of_range_are_named(options):
    tensors, labels = arguments(dtype="float32")
    with pytest.raises(tf.errors.InvalidArgumentError, match=next(iter(options))):
        linear_cross_entropy(*tensors[:2], labels, **options)


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1]])
@pytest.mark.parametrize("weighted", [False, True])
def test_xla_gives_the_same_bits(dtype, training, options, weighted):
    """Forward and backward: the compiled program calls the same kernels."""
    tensors, labels = arguments(65, 140, 59, dtype)
    weights = tf.constant(np.random.default_rng(5).normal(size=65) if weighted else np.ones(65))

    def function(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            losses, correct = linear_cross_entropy(
                *tensors[:2], labels, tensors[2], training=training, **options
            )
            loss = tf.reduce_sum(tf.cast(losses, "float64") * weights)
        return [losses, correct, *tape.gradient(loss, tensors)]

    compiled = tf.function(function, jit_compile=True)(*tensors)
    graph = tf.function(function)(*tensors)
    for jit, plain, eager in zip(compiled, graph, function(*tensors), strict=True):
        np.testing.assert_array_equal(jit, eager)
        np.testing.assert_array_equal(plain, eager)


@needs_native
def test_gradients_saved_may_be_used_twice():
    """A persistent tape asks for the gradient twice: scaling in place must not spoil the second."""
    tensors, labels = arguments(dtype="float32")

    @tf.function
    def both(*tensors):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(tensors)
            losses, _ = linear_cross_entropy(*tensors[:2], labels, tensors[2], training=True)
            one, three = tf.reduce_sum(losses), 3 * tf.reduce_sum(losses)
        return tape.gradient(one, tensors), tape.gradient(three, tensors)

    for one, three in zip(*both(*tensors), strict=True):
        np.testing.assert_allclose(3 * one, three, rtol=1e-6)


@needs_native
def test_leading_axes_and_static_shapes():
    tensors, labels = arguments(24, 17, 5, "float32")
    hidden_states, kernel, bias = tensors
    flat, _ = linear_cross_entropy(hidden_states, kernel, labels, bias)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, 5), tf.float32),
            tf.TensorSpec((None, None), tf.int32),
        ]
    )
    def function(hidden_states, labels):
        losses, correct = linear_cross_entropy(hidden_states, kernel, labels, bias)
        assert losses.shape.rank == 2 and correct.dtype == tf.bool
        return losses

    cube = tf.reshape(hidden_states, (4, 6, 5))
    np.testing.assert_array_equal(function(cube, labels.reshape(4, 6)), tf.reshape(flat, (4, 6)))


@needs_native
def test_nothing_at_all():
    losses, correct = linear_cross_entropy(
        tf.zeros((0, 4)), tf.zeros((7, 4)), tf.zeros((0,), tf.int32)
    )
    assert losses.shape == correct.shape == (0,)


@needs_native
def test_second_derivative_is_a_clear_error():
    tensors, labels = arguments(dtype="float32")
    with tf.GradientTape() as outer:
        outer.watch(tensors)
        with tf.GradientTape() as inner:
            inner.watch(tensors)
            losses, _ = linear_cross_entropy(*tensors[:2], labels, training=True)
        gradient = inner.gradient(losses, tensors[0])
    with pytest.raises(NotImplementedError, match="KERASLLM_NATIVE=0"):
        outer.gradient(gradient, tensors[0])


def test_gather_positions():
    hidden_states = np.random.default_rng(0).normal(size=(3, 5, 4))
    positions = np.array([[0, 4], [2, 2], [3, 1]])
    np.testing.assert_array_equal(
        gather_positions(hidden_states, positions),
        np.take_along_axis(hidden_states, positions[..., None], axis=1),
    )
