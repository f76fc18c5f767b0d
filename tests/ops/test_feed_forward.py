"""kerasllm.ops.feed_forward: composed against float64 NumPy, fused against composed."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.ops.dense import FEWEST_ROWS
from kerasllm.ops.feed_forward import composed_feed_forward, feed_forward, feed_forward_is_fused
from tests.ops.test_gelu import FORMULAS, KINDS

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")

# rows, input_dim, dim, output_dim
SHAPES = [((40,), 5, 6, 7), ((2, 49), 59, 97, 33), ((3, 4, 9), 64, 128, 64), ((97,), 33, 1025, 17)]
NAMES = ("inputs", "hidden_kernel", "hidden_bias", "output_kernel", "output_bias")


def tensors(rows, input_dim, dim, output_dim, gated=False, dtype="float32", bias=True):
    random = np.random.default_rng(1)
    columns = (2 if gated else 1) * dim
    made = {
        "inputs": random.normal(size=(*rows, input_dim)),
        "hidden_kernel": random.normal(size=(input_dim, columns)) / np.sqrt(input_dim),
        "hidden_bias": random.normal(size=columns),
        "output_kernel": random.normal(size=(dim, output_dim)) / np.sqrt(dim),
        "output_bias": random.normal(size=output_dim),
    }
    wide = "float64" if dtype == "float64" else "float32"
    return {
        name: None
        if "bias" in name and not bias
        else tf.constant(value, wide if "bias" in name else dtype)
        for name, value in made.items()
    }


def results_and_gradients(function, arguments, d_outputs, **options):
    watched = [tensor for tensor in arguments.values() if tensor is not None]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        outputs = function(**arguments, **options)
    return [outputs, *tape.gradient(outputs, watched, d_outputs)]


def d_outputs_for(arguments):
    shape = (*arguments["inputs"].shape[:-1], arguments["output_kernel"].shape[1])
    values = np.random.default_rng(2).normal(size=shape)
    return tf.constant(values, arguments["inputs"].dtype)


def as_float64(tensor):
    return np.array(tf.cast(tensor, "float64"))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_composed_is_the_formula(kind, gated):
    arguments = tensors((3, 5), 6, 8, 4, gated, "float64")
    x, hidden_kernel, hidden_bias, output_kernel, output_bias = map(np.array, arguments.values())
    hidden = x @ hidden_kernel + hidden_bias
    activated = np.vectorize(FORMULAS[kind])(hidden[..., :8])
    if gated:
        activated = activated * hidden[..., 8:]
    np.testing.assert_allclose(
        composed_feed_forward(**arguments, kind=kind, gated=gated),
        activated @ output_kernel + output_bias,
        rtol=1e-10,
        atol=1e-12,
    )


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("shape", "gated"), itertools.product(SHAPES, [False, True]))
def test_error_is_at_most_twice_that_of_composed(shape, gated, jit_compile, dtype):
    arguments = tensors(*shape, gated, dtype)
    d_outputs = d_outputs_for(arguments)
    options = {"kind": "erf", "gated": gated}

    def run(function, **more):
        def call(arguments, d_outputs):
            return results_and_gradients(function, arguments, d_outputs, **options, **more)

        return tf.function(call, jit_compile=jit_compile)(arguments, d_outputs)

    wide = {name: tf.cast(tensor, "float64") for name, tensor in arguments.items()}
    exact = results_and_gradients(
        composed_feed_forward, wide, tf.cast(d_outputs, "float64"), **options
    )
    stock = run(composed_feed_forward)
    for training in (True, False):
        found = run(feed_forward, training=training)
        for name, mine, theirs, reference in zip(
            ("outputs", *NAMES), found, stock, exact, strict=True
        ):
            assert mine.shape == reference.shape
            reference = np.array(reference)
            error, stock_error = (np.abs(as_float64(t) - reference).max() for t in (mine, theirs))
            rounding = np.abs(reference).max() * (2**-8 if dtype == "bfloat16" else 2**-22)
            assert error <= 2 * max(stock_error, rounding), (name, training)


@needs_native
@pytest.mark.parametrize("kind", KINDS)
def test_every_activation_without_biases(kind):
    for gated in (False, True):
        arguments = tensors((50,), 20, 30, 10, gated, bias=False)
        options = {"kind": kind, "gated": gated}
        d_outputs = d_outputs_for(arguments)
        fused = results_and_gradients(feed_forward, arguments, d_outputs, **options)
        composed = results_and_gradients(composed_feed_forward, arguments, d_outputs, **options)
        for mine, other in zip(fused, composed, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


@needs_native
def test_training_or_not_gives_the_same_bits():
    arguments = tensors((100,), 33, 70, 20)
    np.testing.assert_array_equal(
        feed_forward(**arguments, training=True), feed_forward(**arguments, training=False)
    )


@needs_native
def test_jit_compile_gives_the_same_bits():
    arguments = tensors((100,), 33, 70, 20)
    d_outputs = d_outputs_for(arguments)

    def call(arguments, d_outputs):
        return results_and_gradients(feed_forward, arguments, d_outputs, training=True)

    compiled = tf.function(call, jit_compile=True)(arguments, d_outputs)
    for mine, other in zip(compiled, call(arguments, d_outputs), strict=True):
        np.testing.assert_array_equal(mine, other)


@needs_native
def test_few_rows_and_other_dtypes_are_left_to_keras():
    assert feed_forward_is_fused(tf.zeros((FEWEST_ROWS, 5)))
    assert not feed_forward_is_fused(tf.zeros((FEWEST_ROWS - 1, 5)))
    assert not feed_forward_is_fused(tf.zeros((FEWEST_ROWS, 5), "float64"))
    for rows in ((FEWEST_ROWS - 1,), (0,)):
        arguments = tensors(rows, 5, 6, 7)
        assert feed_forward(**arguments).shape == (*rows, 7)


@needs_native
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_few_bfloat16_rows_are_fused_under_xla(rows):
    arguments = {
        name: tf.cast(tensor, "bfloat16") for name, tensor in tensors((rows,), 37, 70, 20).items()
    }
    taken = []

    def call(inputs):
        taken.append(feed_forward_is_fused(inputs))
        return feed_forward(**{**arguments, "inputs": inputs})

    outputs = tf.function(call, jit_compile=True)(arguments["inputs"])
    assert taken == [True]
    wide = {name: tf.cast(tensor, "float64") for name, tensor in arguments.items()}
    np.testing.assert_allclose(
        np.float64(outputs), composed_feed_forward(**wide), rtol=2**-7, atol=2**-7
    )


@needs_native
def test_an_unknown_batch_may_be_empty():
    arguments = tensors((40,), 5, 6, 7)
    kernels = {name: arguments[name] for name in NAMES[1:]}
    call = tf.function(
        lambda inputs: feed_forward(inputs, **kernels, training=True),
        input_signature=[tf.TensorSpec((None, 5))],
    )
    assert call(tf.zeros((0, 5))).shape == (0, 7)
    np.testing.assert_allclose(
        call(arguments["inputs"]), composed_feed_forward(**arguments), rtol=1e-5, atol=1e-5
    )


@needs_native
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"inputs": (40, 4)}, "inputs has shape .*expected"),
        ({"hidden_kernel": (5,)}, r"hidden_kernel has shape .*\(input_dim, dim\)"),
        ({"output_kernel": (5, 7)}, "hidden_kernel has shape .* and output_kernel .*expected"),
        ({"hidden_bias": (5,)}, "hidden_bias has shape .*expected"),
        ({"output_bias": (6,)}, "output_bias has shape .*expected"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changed, message):
    from kerasllm_ops.feed_forward import feed_forward as fused

    arguments = tensors((40,), 5, 6, 7)
    arguments |= {name: tf.zeros(shape) for name, shape in changed.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        fused(**arguments)


@needs_native
def test_a_second_derivative_is_refused():
    arguments = tensors((40,), 5, 6, 7)
    inputs = arguments.pop("inputs")
    with tf.GradientTape() as outer, tf.GradientTape() as inner:
        inner.watch(inputs)
        outer.watch(inputs)
        outputs = feed_forward(inputs, **arguments, training=True)
        inner_gradient = inner.gradient(outputs, inputs)
    with pytest.raises(NotImplementedError, match="has no second derivative"):
        outer.gradient(inner_gradient, inputs)


@needs_native
@pytest.mark.parametrize("input_dim", [4, 6])
def test_sizes_unknown_when_a_function_is_traced_are_checked_under_xla(input_dim):
    """They reached the kernel unchecked: numbers were wrong, or read beyond the kernel's end."""
    hidden_kernel, output_kernel = tf.ones((5, 6)), tf.ones((6, 7))
    call = tf.function(
        lambda inputs: feed_forward(inputs, hidden_kernel, None, output_kernel, None),
        jit_compile=True,
        input_signature=[tf.TensorSpec((None, None))],
    )
    assert call(tf.ones((40, 5))).shape == (40, 7)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{input_dim} and 5"):
        call(tf.ones((40, input_dim)))
