"""kerasllm_ops.dense against float64 NumPy, and when kerasllm.ops.dense takes it."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.ops import dispatch
from kerasllm.ops.dense import FEWEST_ROWS, composed_dense, dense, dense_is_fused

pytestmark = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")

# (rows, input_dim, units)
SHAPES = [((7,), 5, 3), ((1,), 59, 97), ((2, 49), 64, 130), ((3, 0), 4, 6), ((1025,), 33, 17)]


def tensors(rows, input_dim, units, dtype="float32"):
    random = np.random.default_rng(1)
    sizes = [(*rows, input_dim), (input_dim, units), (*rows, units)]
    inputs, kernel, d_outputs = (tf.constant(random.normal(size=size), dtype) for size in sizes)
    return inputs, kernel, tf.constant(random.normal(size=units), "float32"), d_outputs


def results_and_gradients(function, inputs, kernel, bias, d_outputs):
    with tf.GradientTape() as tape:
        tape.watch((inputs, kernel, bias))
        outputs = function(inputs, kernel, bias)
    return [outputs, *tape.gradient(outputs, (inputs, kernel, bias), d_outputs)]


def reference(inputs, kernel, bias, d_outputs):
    x, w, b, d = (np.array(tf.cast(t, "float64")) for t in (inputs, kernel, bias, d_outputs))
    rows, d_rows = x.reshape(-1, x.shape[-1]), d.reshape(-1, d.shape[-1])
    return [x @ w + b, d @ w.T, rows.T @ d_rows, d_rows.sum(0)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("rows", "input_dim", "units"), SHAPES)
def test_error_is_at_most_twice_that_of_matmul(rows, input_dim, units, jit_compile, dtype):
    from kerasllm_ops.dense import dense as fused

    arguments = tensors(rows, input_dim, units, dtype)
    found = tf.function(results_and_gradients, jit_compile=jit_compile)(fused, *arguments)
    stock = results_and_gradients(composed_dense, *arguments)
    for mine, theirs, exact in zip(found, stock, reference(*arguments), strict=True):
        assert mine.shape == exact.shape
        if exact.size:
            error, stock_error = (
                np.abs(np.array(tf.cast(t, "float64")) - exact).max() for t in (mine, theirs)
            )
            rounding = np.abs(exact).max() * (2**-8 if dtype == "bfloat16" else 2**-23)
            assert error <= 2 * max(stock_error, rounding)


def test_second_derivatives_are_those_of_matmul():
    from kerasllm_ops.dense import dense as fused

    inputs, kernel, bias, d_outputs = tensors((4,), 5, 3)

    def second(function):
        with tf.GradientTape() as outer:
            outer.watch((inputs, kernel, bias))
            first = results_and_gradients(
                lambda *a: tf.square(function(*a)), inputs, kernel, bias, d_outputs
            )
            penalty = tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in first[1:]])
        return outer.gradient(penalty, (inputs, kernel, bias))

    for mine, stock in zip(second(fused), second(composed_dense), strict=True):
        np.testing.assert_allclose(mine, stock, rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 5), (4, 3), (3,)), "inputs has shape .*expected"),
        (((2, 5), (5,), (3,)), "kernel has shape .*input_dim, units"),
        (((2, 5), (5, 3), (4,)), "bias has shape .*expected"),
        (((), (5, 3), (3,)), "inputs is a scalar"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    from kerasllm_ops.dense import dense as fused

    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        fused(*(tf.zeros(shape) for shape in shapes))


def op_types(function, *arguments, jit_compile):
    compiled = tf.function(function, jit_compile=jit_compile)
    return {op.type for op in compiled.get_concrete_function(*arguments).graph.get_operations()}


def test_op_is_taken_where_xla_compiles():
    inputs, kernel, bias, _ = tensors((64,), 5, 3)
    assert "KerasllmDense" in op_types(dense, inputs, kernel, bias, jit_compile=True)
    assert "KerasllmDense" not in op_types(dense, inputs, kernel, bias, jit_compile=False)
    assert not dense_is_fused(inputs)  # eagerly
    few = inputs[: FEWEST_ROWS - 1]
    assert "KerasllmDense" not in op_types(dense, few, kernel, bias, jit_compile=True)
    # XLA would widen a bfloat16 kernel at every call.
    half = [tf.cast(tensor, "bfloat16") for tensor in (few, kernel, bias)]
    assert "KerasllmDense" in op_types(dense, *half, jit_compile=True)
    wide = [tf.cast(tensor, "float64") for tensor in (inputs, kernel, bias)]
    assert "KerasllmDense" not in op_types(dense, *wide, jit_compile=True)


@pytest.mark.parametrize("rows", [0, 1, 7, 31])
def test_few_bfloat16_rows_under_xla(rows):
    inputs, kernel, bias, _ = (tf.cast(each, "bfloat16") for each in tensors((rows,), 37, 70))
    outputs = tf.function(dense, jit_compile=True)(inputs, kernel, bias)
    expected = np.float64(inputs) @ np.float64(kernel) + np.float64(bias)
    np.testing.assert_allclose(np.float64(outputs), expected, rtol=2**-8, atol=2**-8)


def test_tensorflow_that_does_not_tell_of_xla_costs_a_warning_only(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(dispatch, "importlib", types.SimpleNamespace(import_module=missing))
    dispatch._tensorflow_in_xla_context.cache_clear()
    inputs, kernel, bias, _ = tensors((64,), 5, 3)
    try:
        with pytest.warns(UserWarning, match="does not say whether XLA compiles a function"):
            assert dispatch._tensorflow_in_xla_context() is None
        assert "KerasllmDense" not in op_types(dense, inputs, kernel, bias, jit_compile=True)
        outputs = tf.function(dense, jit_compile=True)(inputs, kernel, bias)
        np.testing.assert_allclose(outputs, dense(inputs, kernel, bias), rtol=1e-5, atol=1e-5)
    finally:
        dispatch._tensorflow_in_xla_context.cache_clear()


def attention_layers():
    import kerasllm

    return [
        kerasllm.layers.MultiHeadAttention(2, 8),
        kerasllm.layers.GroupQueryAttention(8, 4, 2),
        kerasllm.layers.Dense(16),
        kerasllm.layers.Dense(16, activation="gelu"),
        kerasllm.layers.GatedDense(16),
    ]


@pytest.mark.parametrize("index", range(len(attention_layers())))
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_layers_take_it_under_xla_with_the_same_results(index, policy):
    layer = attention_layers()[index]
    layer.dtype_policy = keras.DTypePolicy(policy)
    layer = type(layer).from_config(layer.get_config())
    inputs = tf.random.stateless_normal((4, 10, 16), (1, 2))
    arguments = (inputs, inputs) if "Attention" in type(layer).__name__ else (inputs,)
    expected = layer(*arguments)
    assert "KerasllmDense" in op_types(layer, *arguments, jit_compile=True)
    found = tf.function(layer, jit_compile=True)(*arguments)
    tolerance = 3e-6 if policy == "float32" else 0.03
    np.testing.assert_allclose(
        tf.cast(found, "float32"), tf.cast(expected, "float32"), atol=tolerance, rtol=0.01
    )
