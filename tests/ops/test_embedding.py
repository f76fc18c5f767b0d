"""kerasllm.ops.embedding against NumPy in float64, and fused against composed."""

import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.ops.embedding import composed_embedding, embedding

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
VOCABULARY, MAX_LENGTH, SEGMENTS, START = 37, 140, 3, 5


def make(batch, time, dim, dtype="float32"):
    """Arguments of `embedding`, most tokens id 0 as with padding, and a gradient of its outputs."""
    random = np.random.default_rng(0)
    token_ids = random.integers(0, VOCABULARY, (batch, time)) * (random.random((batch, time)) < 0.3)

    def table(rows):
        return tf.cast(random.normal(size=(rows, dim)), dtype)

    arguments = {
        "token_ids": tf.constant(token_ids, tf.int32),
        "token_embeddings": table(VOCABULARY),
        "position_embeddings": table(MAX_LENGTH),
        "segment_ids": tf.constant(random.integers(0, SEGMENTS, (batch, time)), tf.int32),
        "segment_embeddings": table(SEGMENTS),
        "start": tf.constant(START),
    }
    return arguments, random.normal(size=(batch, time, dim))


TABLES = ("token_embeddings", "position_embeddings", "segment_embeddings")


def reference(arguments, d_outputs):
    """Outputs and the gradients of the tables in NumPy, float64."""
    values = {name: np.array(tf.cast(arguments[name], "float64")) for name in TABLES}
    token_ids, segment_ids = arguments["token_ids"].numpy(), arguments["segment_ids"].numpy()
    time = token_ids.shape[1]
    positions = np.broadcast_to(START + np.arange(time), token_ids.shape)
    outputs, gradients = 0, []
    for name, ids in zip(TABLES, (token_ids, positions, segment_ids), strict=True):
        outputs = outputs + values[name][ids]
        gradient = np.zeros_like(values[name])
        np.add.at(gradient, ids, d_outputs)
        gradients.append(gradient)
    return outputs, gradients


def with_gradients(function, arguments, d_outputs, dtype):
    """A function of the tables that gives outputs and gradients."""
    others = {name: value for name, value in arguments.items() if name not in TABLES}

    def run(*tables):
        with tf.GradientTape() as tape:
            tape.watch(tables)
            outputs = function(**dict(zip(TABLES, tables, strict=True)), **others, dtype=dtype)
        return outputs, *tape.gradient(outputs, tables, tf.cast(d_outputs, outputs.dtype))

    return run


def run_all(function, arguments, d_outputs, dtype=None, jit_compile=None):
    run = with_gradients(function, arguments, d_outputs, dtype)
    if jit_compile is not None:
        run = tf.function(run, jit_compile=jit_compile)
    results = run(*(arguments[name] for name in TABLES))
    return [tf.convert_to_tensor(result) for result in results]


@needs_native
@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize("shape", [(2, 7, 59), (3, 97, 128), (9, 129, 33), (1, 1, 1)])
def test_fused_is_the_reference(shape, jit_compile):
    arguments, d_outputs = make(*shape)
    results = run_all(embedding, arguments, d_outputs, jit_compile=jit_compile)
    outputs, gradients = reference(arguments, d_outputs)
    stock = run_all(composed_embedding, arguments, d_outputs)
    for mine, theirs, expected in zip(results, stock, [outputs, *gradients], strict=True):
        error = np.abs(mine.numpy() - expected).max()
        stock_error = np.abs(theirs.numpy() - expected).max()
        assert error <= 2 * stock_error + 1e-6
    for mine, eager in zip(results, run_all(embedding, arguments, d_outputs), strict=True):
        np.testing.assert_array_equal(mine, eager)


@needs_native
@pytest.mark.parametrize("jit_compile", [None, True])
@pytest.mark.parametrize("tables", ["float32", "bfloat16"])
@pytest.mark.parametrize("outputs", ["float32", "bfloat16"])
def test_dtypes_of_tables_and_outputs(tables, outputs, jit_compile):
    arguments, d_outputs = make(4, 33, 21, tables)
    d_outputs = np.array(tf.cast(tf.cast(d_outputs, outputs), "float64"))
    results = run_all(embedding, arguments, d_outputs, outputs, jit_compile)
    assert results[0].dtype == outputs
    assert all(gradient.dtype == tables for gradient in results[1:])
    expected, gradients = reference(arguments, d_outputs)
    for result, exact in zip(results, [expected, *gradients], strict=True):
        tolerance = 1e-6 if result.dtype == "float32" else 1 / 256
        error = np.abs(tf.cast(result, "float64") - exact).max()
        assert error <= tolerance * np.abs(exact).max() + 1e-6


def test_composed_is_the_reference():
    arguments, d_outputs = make(3, 11, 8, "float64")
    results = run_all(composed_embedding, arguments, d_outputs)
    expected, gradients = reference(arguments, d_outputs)
    for result, exact in zip(results, [expected, *gradients], strict=True):
        np.testing.assert_allclose(result, exact, rtol=1e-12, atol=1e-12)


@needs_native
def test_tables_that_are_not_given():
    arguments, _ = make(2, 9, 12)
    token_ids, table = arguments["token_ids"], arguments["token_embeddings"]
    np.testing.assert_array_equal(embedding(token_ids, table), tf.gather(table, token_ids))
    outputs = embedding(token_ids, table, arguments["position_embeddings"])
    expected = tf.gather(table, token_ids) + arguments["position_embeddings"][:9]
    np.testing.assert_array_equal(outputs, expected)
    with pytest.raises(ValueError, match="only one is given"):
        embedding(token_ids, table, segment_ids=token_ids)


def raised(function, *arguments, **named):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        function(*arguments, **named)
    return str(error.value)


@needs_native
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_an_id_without_a_row_is_named(jit_compile, device):
    if device == "GPU":
        pytest.skip("a GPU gives NaN (test_devices.py)")
    table = tf.ones((4, 3))

    def call(token_ids, segment_ids=None, start=0):
        token_ids = tf.constant(token_ids)

        def run(start):
            segments = {}
            if segment_ids is not None:
                segments = {"segment_ids": tf.constant(segment_ids), "segment_embeddings": table}
            return embedding(token_ids, table, table, start=start, **segments)

        if jit_compile is not None:
            run = tf.function(run, jit_compile=jit_compile)
        return run(tf.constant(start)).numpy()

    assert call([[0, 3]], [[1, 2]], start=2).shape == (1, 2, 3)
    assert r"token_ids[1, 1] is 4, expected at least 0 and below 4" in raised(
        call, [[0, 3], [2, 4], [-1, 0]]
    )
    assert "token_ids[0, 0] is -1" in raised(call, [[-1, 3]])
    assert "segment_ids[0, 1] is 9" in raised(call, [[0, 3]], [[0, 9]])
    assert "positions 3 to 4 are asked for, but position_embeddings has 4 rows" in raised(
        call, [[0, 3]], start=3
    )
    assert "start is -1" in raised(call, [[0, 3]], start=-1)


@needs_native
def test_ids_of_64_bits_do_not_wrap(device):
    if device == "GPU":
        pytest.skip("a GPU gives NaN (test_devices.py)")
    token_ids = tf.constant([[2**32 + 1, 0]], tf.int64)
    assert "token_ids[0, 0] is 2147483647" in raised(embedding, token_ids, tf.ones((4, 3)))
    np.testing.assert_array_equal(
        embedding(tf.constant([[1, 0]], tf.int64), tf.eye(3)), [[[0, 1, 0], [1, 0, 0]]]
    )


@needs_native
def test_shapes_that_do_not_fit_are_refused():
    from kerasllm_ops.embedding import embedding as op

    arguments, _ = make(2, 9, 12)
    for name, value in {
        "token_ids": tf.zeros((2,), tf.int32),
        "token_embeddings": tf.zeros((4, 3, 2)),
        "position_embeddings": tf.zeros((20, 11)),
        "segment_ids": tf.zeros((2, 8), tf.int32),
        "segment_embeddings": tf.zeros((3, 13)),
        "start": tf.constant([1]),
    }.items():
        assert name in raised(lambda n=name, v=value: op(**{**arguments, n: v}))


@needs_native
def test_empty_tensors_and_unknown_sizes():
    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)])
    def function(token_ids):
        outputs = embedding(token_ids, tf.ones((4, 3)))
        assert outputs.shape.as_list() == [None, None, 3]
        return outputs

    assert function(tf.zeros((0, 5), tf.int32)).shape == (0, 5, 3)
    assert function(tf.zeros((2, 5), tf.int32)).shape == (2, 5, 3)
    table = tf.ones((4, 3))
    with tf.GradientTape() as tape:
        tape.watch(table)
        outputs = embedding(tf.zeros((2, 0), tf.int32), table)
    np.testing.assert_array_equal(tape.gradient(outputs, table), np.zeros((4, 3)))
    assert embedding(tf.zeros((2, 5), tf.int32), tf.ones((4, 0))).shape == (2, 5, 0)


@needs_native
def test_second_derivative():
    token_ids = tf.constant([[1, 1, 2], [0, 1, 3]])
    table = tf.random.stateless_normal((4, 5), (1, 2))

    def cube(lookup):
        with tf.GradientTape() as outer:
            outer.watch(table)
            with tf.GradientTape() as inner:
                inner.watch(table)
                loss = tf.reduce_sum(lookup(token_ids, table) ** 3)
            penalty = tf.reduce_sum(tf.convert_to_tensor(inner.gradient(loss, table)) ** 2)
        return tf.convert_to_tensor(outer.gradient(penalty, table))

    expected = cube(composed_embedding)
    np.testing.assert_allclose(cube(embedding), expected, rtol=1e-5)


@needs_native
def test_nan_in_is_nan_out():
    table = tf.constant([[1.0, float("nan")], [2.0, 3.0]])
    np.testing.assert_array_equal(
        np.isnan(embedding(tf.constant([[0, 1]]), table)), [[[False, True], [False, False]]]
    )
