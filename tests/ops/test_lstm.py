"""kerasllm.ops.lstm: the composed form against Keras's loop in float64, the fused against it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.ops.lstm import composed_lstm, lstm

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")


def arguments(batch=5, time=6, input_dim=4, units=7, dtype="float64", seed=0):
    random = np.random.default_rng(seed)
    shapes = [
        (batch, time, input_dim),
        (batch, units),
        (batch, units),
        (input_dim, 4 * units),
        (units, 4 * units),
        (4 * units,),
    ]
    return [tf.constant(random.normal(0, 0.7, shape), dtype) for shape in shapes]


OPTIONS = [
    {"go_backwards": back, "zero_output_for_mask": zero, "return_sequences": sequences}
    for back in (False, True)
    for zero in (False, True)
    for sequences in (False, True)
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("masked", [False, True])
def test_composed_is_keras(options, masked):
    x, h, c, *weights = arguments()
    mask = np.random.default_rng(1).random((5, 6)) < 0.6 if masked else None
    layer = keras.layers.LSTM(7, return_state=True, dtype="float64", **options)
    layer.build(x.shape)
    layer.set_weights(weights)
    expected = layer(x, initial_state=[h, c], mask=mask)
    outputs, hidden, cell = composed_lstm(x, h, c, *weights, mask=mask, **options)
    if not options["return_sequences"]:
        outputs = outputs[:, 0]
    for mine, other in zip((outputs, hidden, cell), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)


def test_composed_gradients_by_finite_differences():
    values = arguments(batch=2, time=3, input_dim=2, units=2)
    mask = np.array([[True, False, True], [True, True, False]])

    def loss(*tensors):
        outputs, hidden, cell = composed_lstm(*tensors, mask=mask)
        return tf.reduce_sum(tf.sin(outputs) + hidden[:, None] * cell[:, None])

    theory, numeric = tf.test.compute_gradient(loss, values, delta=1e-5)
    for a, b in zip(theory, numeric, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


@needs_native
@pytest.mark.parametrize("options", OPTIONS)
def test_fused_is_composed(options):
    exact = arguments(batch=9, time=11, input_dim=19, units=35)
    mask = np.random.default_rng(1).random((9, 11)) < 0.7
    single = [tf.cast(tensor, "float32") for tensor in exact]
    exact = [tf.cast(tensor, "float64") for tensor in single]

    def gradients(function, tensors, **more):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            results = function(*tensors, mask=mask, **options, **more)
            loss = tf.add_n([tf.reduce_sum(tf.sin(tf.cast(r, "float64"))) for r in results])
        return [*results, *tape.gradient(loss, tensors)]

    fused = gradients(lstm, single, training=True)
    composed = gradients(composed_lstm, exact)
    for mine, other in zip(fused, composed, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=2e-5)


@needs_native
@pytest.mark.parametrize(
    ("position", "shape", "name"),
    [
        (0, (5, 6), r"inputs has shape \[5,6\], expected \(batch, time, input_dim\)"),
        (1, (4, 7), "initial_hidden|Dimensions"),
        (2, (5, 8), "initial_cell|Dimensions"),
        (3, (3, 28), "kernel|Dimensions"),
        (4, (7, 27), "recurrent_kernel|Dimensions"),
        (5, (27,), "bias|Dimensions"),
    ],
)
def test_shapes_that_do_not_fit_are_named(position, shape, name):
    from kerasllm_ops.lstm import lstm as op

    tensors = arguments(dtype="float32")
    tensors[position] = tf.zeros(shape)
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=name):
        op(*tensors)


@needs_native
def test_a_mask_of_another_shape_is_refused():
    from kerasllm_ops.lstm import lstm as op

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"mask has shape .*expected \[5,6\]"):
        op(*arguments(dtype="float32"), mask=tf.ones((5, 7), tf.bool))


@needs_native
def test_static_shapes_are_known_in_a_graph():
    from kerasllm_ops.lstm import lstm as op

    x, _, _, *weights = arguments(dtype="float32")

    @tf.function(input_signature=[tf.TensorSpec((None, None, 4), tf.float32)])
    def function(inputs):
        batch = tf.shape(inputs)[0]
        state = tf.zeros((batch, 7))
        sequences, hidden, _ = op(inputs, state, state, *weights)
        last, _, _ = op(inputs, state, state, *weights, return_sequences=False)
        assert sequences.shape.as_list() == [None, None, 7]
        assert last.shape.as_list() == [None, 1, 7]
        assert hidden.shape.as_list() == [None, 7]
        return last

    assert function(x).shape == (5, 1, 7)


@needs_native
def test_a_sequence_without_steps_gives_the_initial_states():
    from kerasllm_ops.lstm import lstm as op

    x, h, c, *weights = arguments(dtype="float32")
    outputs, hidden, cell = op(x[:, :0], h, c, *weights, return_sequences=False)
    np.testing.assert_array_equal(outputs, np.zeros((5, 1, 7)))
    np.testing.assert_array_equal(hidden, h)
    np.testing.assert_array_equal(cell, c)


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_xla_gives_the_same_bits(options, masked, dtype):
    """Forward and backward: the compiled program calls the same kernels."""
    from kerasllm_ops.lstm import lstm as op

    tensors = arguments(dtype=dtype)
    mask = tf.constant(np.random.default_rng(1).random((5, 6)) < 0.6) if masked else None

    def results_and_gradients(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            results = op(*tensors, mask=mask, save_activations=True, **options)
            loss = tf.add_n([tf.reduce_sum(r) for r in results])
        return [*results, *tape.gradient(loss, tensors)]

    compiled = tf.function(results_and_gradients, jit_compile=True)(*tensors)
    for mine, other in zip(compiled, results_and_gradients(*tensors), strict=True):
        np.testing.assert_array_equal(mine, other)


@needs_native
def test_xla_without_saved_activations_and_a_gradient_of_it():
    from kerasllm_ops.lstm import lstm as op

    tensors = arguments(dtype="float32")

    @tf.function(jit_compile=True)
    def gradient(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = tf.reduce_sum(op(*tensors)[0])
        return tape.gradient(loss, tensors)

    for found in gradient(*tensors):
        assert np.isfinite(found).all() and np.any(found != 0)
