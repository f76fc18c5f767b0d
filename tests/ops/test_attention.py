"""kerasllm.ops.attention: the composed form against float64 NumPy, the fused against both and
against Keras's dot_product_attention."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.ops.attention import attention, composed_attention
from kerasllm.ops.random import dropout_factors

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
SEED = tf.constant([12345, -678], tf.int32)


def tensors(query_length=9, key_length=11, heads=4, key_heads=4, dim=8, value_dim=8, batch=2):
    """Query, key, value and the gradient of the outputs, exact in bfloat16."""
    random = np.random.default_rng(0)
    shapes = [
        (batch, query_length, heads, dim),
        (batch, key_length, key_heads, dim),
        (batch, key_length, key_heads, value_dim),
        (batch, query_length, heads, value_dim),
    ]
    exact = [tf.cast(random.normal(size=shape), "bfloat16") for shape in shapes]
    return [tf.cast(tensor, "float64") for tensor in exact]


def options_of(kind, batch, heads, query_length, key_length):
    """Keyword arguments by name."""
    random = np.random.default_rng(1)
    scattered = random.random((batch, 1, 1, key_length)) < 0.7
    padding = np.arange(key_length) < random.integers(0, key_length + 1, (batch, 1, 1, 1))
    return {
        "full": {},
        "causal": {"causal": True},
        "lengths": {"lengths": random.integers(0, key_length + 1, batch).astype("int32")},
        "padding mask": {"mask": padding},
        "scattered mask": {"mask": scattered, "causal": True},
        "full mask": {"mask": random.random((batch, heads, query_length, key_length)) < 0.4},
        "nothing seen": {"mask": np.zeros((1, 1, 1, key_length), bool)},
        "bias": {"mask": random.normal(size=(1, heads, query_length, key_length)).astype("f4")},
        "query mask": {"query_mask": random.random((batch, query_length)) < 0.5},
        "window": {"window": 5},
        "causal window": {"window": 5, "causal": True},
        "offset": {
            "query_offset": random.integers(0, key_length, batch).astype("int32"),
            "causal": True,
        },
        "soft cap": {"soft_cap": 1.5, "scale": 0.7},
        "dropout": {"dropout_rate": 0.3, "seed": SEED},
        "all": {
            "lengths": random.integers(0, key_length + 1, batch).astype("int32"),
            "mask": scattered,
            "causal": True,
            "window": 50,
            "query_offset": random.integers(0, key_length, batch).astype("int32"),
            "soft_cap": 3.0,
            "dropout_rate": 0.1,
            "seed": SEED,
        },
    }[kind]


KINDS = [
    "full",
    "causal",
    "lengths",
    "padding mask",
    "scattered mask",
    "full mask",
    "nothing seen",
    "bias",
    "query mask",
    "window",
    "causal window",
    "offset",
    "soft cap",
    "dropout",
    "all",
]


def numpy_attention(
    query,
    key,
    value,
    lengths=None,
    mask=None,
    causal=False,
    window=None,
    query_offset=None,
    query_mask=None,
    scale=None,
    soft_cap=None,
    dropout_rate=0.0,
    seed=None,
):
    """One query at a time, in float64."""
    batch, query_length, heads, dim = query.shape
    key_length, group = key.shape[1], heads // key.shape[2]
    factors = np.ones((batch, heads, query_length, key_length))
    if dropout_rate:
        factors = np.array(dropout_factors(seed, factors.shape, dropout_rate), "f8")
    if mask is not None:
        mask = np.broadcast_to(mask, factors.shape)
    outputs = np.zeros((batch, query_length, heads, value.shape[-1]))
    for b, h, i in np.ndindex(batch, heads, query_length):
        place = i + (0 if query_offset is None else query_offset[b])
        scores = key[b, :, h // group] @ query[b, i, h] * (dim**-0.5 if scale is None else scale)
        if soft_cap:
            scores = soft_cap * np.tanh(scores / soft_cap)
        seen = np.arange(key_length) < (key_length if lengths is None else lengths[b])
        for j in range(key_length):
            if causal and j > place:
                seen[j] = False
            if window and abs(place - j) >= window:
                seen[j] = False
        if query_mask is not None and not query_mask[b, i]:
            seen[:] = False
        if mask is not None:
            row = mask[b, h, i]
            seen, scores = (seen & row, scores) if row.dtype == bool else (seen, scores + row)
        if seen.any():
            weights = np.where(seen, np.exp(scores - scores[seen].max()), 0)
            weights = weights / weights.sum() * factors[b, h, i]
            outputs[b, i, h] = weights @ value[b, :, h // group]
    return outputs


def results_and_gradients(function, query, key, value, d_outputs, options):
    with tf.GradientTape() as tape:
        tape.watch([query, key, value])
        outputs = function(query, key, value, **options)
    return [outputs, *tape.gradient(outputs, [query, key, value], output_gradients=d_outputs)]


def errors(found, expected):
    return [
        np.abs(np.array(tf.cast(mine, "float64")) - np.array(other)).max()
        for mine, other in zip(found, expected, strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_composed_is_numpy(kind):
    query, key, value, _ = tensors(key_heads=2, value_dim=5)
    options = options_of(kind, 2, 4, 9, 11)
    expected = numpy_attention(*(np.array(t) for t in (query, key, value)), **options)
    found = composed_attention(query, key, value, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["full", "causal window", "full mask", "soft cap", "dropout"])
def test_composed_gradients_by_finite_differences(kind):
    query, key, value, _ = tensors(3, 4, heads=2, key_heads=1, dim=2, value_dim=3, batch=1)
    options = options_of(kind, 1, 2, 3, 4)

    def loss(*inputs):
        return tf.reduce_sum(tf.sin(composed_attention(*inputs, **options)))

    theory, numeric = tf.test.compute_gradient(loss, [query, key, value], delta=1e-5)
    for a, b in zip(theory, numeric, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("query_length", "key_length", "heads", "key_heads", "dim", "value_dim"),
    [(97, 97, 2, 2, 59, 59), (1, 130, 4, 1, 16, 20), (65, 33, 2, 1, 64, 128)],
)
def test_fused_error_is_at_most_twice_that_of_the_composed(
    query_length, key_length, heads, key_heads, dim, value_dim, kind, dtype
):
    """In the same dtype, against float64; the composed form is what stock Keras computes."""
    exact = tensors(query_length, key_length, heads, key_heads, dim, value_dim)
    options = options_of(kind, 2, heads, query_length, key_length)
    expected = results_and_gradients(composed_attention, *exact, options)
    rounded = [tf.cast(tensor, dtype) for tensor in exact]
    fused = errors(results_and_gradients(attention, *rounded, options), expected)
    composed = errors(results_and_gradients(composed_attention, *rounded, options), expected)
    unit = 2.0 ** (-22 if dtype == "float32" else -8)
    for mine, other, scale in zip(fused, composed, expected, strict=True):
        assert mine <= 2 * other + unit * np.abs(scale).max()


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("causal", [False, True])
def test_error_is_at_most_twice_that_of_keras_at_length_1025(causal, dtype):
    exact = tensors(1025, 1025, heads=2, key_heads=2, dim=64, value_dim=64, batch=1)
    rounded = [tf.cast(tensor, dtype) for tensor in exact]

    def stock(query, key, value, is_causal):
        return keras.ops.dot_product_attention(query, key, value, is_causal=is_causal)

    options = {"is_causal": causal}
    expected = results_and_gradients(stock, *exact, options)
    theirs = errors(results_and_gradients(stock, *rounded, options), expected)
    fused = errors(results_and_gradients(attention, *rounded, {"causal": causal}), expected)
    for mine, other, scale in zip(fused, theirs, expected, strict=True):
        assert mine <= 2 * other + 2.0**-23 * np.abs(scale).max()


@needs_native
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [*((kind, "float32") for kind in KINDS), ("full", "bfloat16"), ("all", "bfloat16")],
)
def test_xla_gives_the_same_bits(kind, dtype):
    inputs = [tf.cast(t, dtype) for t in tensors(33, 70, key_heads=2, dim=20, value_dim=24)]
    options = options_of(kind, 2, 4, 33, 70)
    compiled = tf.function(
        lambda *args: results_and_gradients(attention, *args, options), jit_compile=True
    )
    eager = results_and_gradients(attention, *inputs, options)
    for mine, other in zip(compiled(*inputs), eager, strict=True):
        np.testing.assert_array_equal(mine, other)


@needs_native
@pytest.mark.parametrize("run", ["eager", "graph", "jit"])
@pytest.mark.parametrize("shape", [(1, 4, 33, 40), (2, 1, 1, 40), (2, 4, 33, 40)])
def test_an_additive_mask_has_a_gradient(shape, run):
    """A learned bias of positions must not silently stay as it was."""
    query, key, value, d_outputs = tensors(33, 40, key_heads=2)
    random = np.random.default_rng(2)
    bias = tf.constant(random.normal(size=shape))
    options = options_of("all", 2, 4, 33, 40)

    def gradient(function, *inputs):
        mask, *inputs = inputs
        with tf.GradientTape() as tape:
            tape.watch(mask)
            outputs = function(*inputs[:3], **{**options, "mask": mask})
        return tape.gradient(outputs, mask, output_gradients=inputs[3])

    exact = [bias, query, key, value, d_outputs]
    expected = gradient(composed_attention, *exact)
    run_gradient = gradient if run == "eager" else tf.function(gradient, jit_compile=run == "jit")
    found = run_gradient(attention, *(tf.cast(t, "float32") for t in exact))
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=2e-5)


@needs_native
def test_dropout_keeps_the_expectation_and_differs_by_seed():
    query, key, value, _ = (tf.cast(t, "float32") for t in tensors(64, 256, batch=4))
    ones = tf.ones_like(value)
    first, second = (
        attention(query, key, ones, dropout_rate=0.25, seed=seed).numpy() for seed in (SEED, -SEED)
    )
    assert abs(first.mean() - 1) < 0.01 and first.std() > 0.01
    assert not np.array_equal(first, second)


@needs_native
def test_padding_may_hold_nan():
    """Keys beyond the length are not read; the first rows of a window neither."""
    query, key, value, d_outputs = (tf.cast(t, "float32") for t in tensors(7, 100))
    hole = tf.constant(np.arange(100) < 50)[None, :, None, None]
    broken = [query, tf.where(hole, key, np.nan), tf.where(hole, value, np.nan), d_outputs]
    options = {"lengths": tf.constant([50, 13])}
    expected = results_and_gradients(attention, query, key, value, d_outputs, options)
    found = results_and_gradients(attention, *broken, options)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, other)


@needs_native
def test_nan_in_gives_nan_out():
    query, key, value, _ = (tf.cast(t, "float32") for t in tensors())
    broken = query.numpy()
    broken[0, 3, 1] = np.nan
    outputs = attention(tf.constant(broken), key, value).numpy()
    assert np.isnan(outputs[0, 3, 1]).all()
    assert np.isfinite(np.delete(outputs.reshape(-1, 8), 3 * 4 + 1, axis=0)).all()


@needs_native
@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 0, 5), (2, 3, 0)])
def test_empty_tensors(shape):
    batch, query_length, key_length = shape
    inputs = [
        tf.zeros((batch, query_length, 4, 8)),
        *[tf.zeros((batch, key_length, 2, 8))] * 2,
        tf.ones((batch, query_length, 4, 8)),
    ]
    for found, like in zip(
        results_and_gradients(attention, *inputs, {}), [inputs[3], *inputs[:3]], strict=True
    ):
        np.testing.assert_array_equal(found, np.zeros(like.shape))


@needs_native
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": (2, 9, 4)}, "rank|query has shape"),
        ({"key": (3, 11, 4, 8)}, "key|Dimension"),
        ({"key": (2, 11, 3, 8), "value": (2, 11, 3, 8)}, "4 heads and key 3"),
        ({"value": (2, 10, 4, 8)}, "value|Dimension"),
        ({"query": (2, 9, 4, 257), "key": (2, 11, 4, 257)}, "257, expected 1 to 256"),
        ({"lengths": np.array([3, 12], "i4")}, r"lengths\[1\] is 12, expected 0 to 11"),
        ({"lengths": np.array([3], "i4")}, r"lengths has shape \[1\], expected \[2\]"),
        ({"query_offset": np.array([-1, 0], "i4")}, r"query_offset\[0\] is -1"),
        ({"mask": np.ones((2, 4, 9, 10), bool)}, r"mask has shape \[2,4,9,10\], expected \[2 or 1"),
        ({"query_mask": np.ones((2, 8), bool)}, "query_mask has shape"),
        ({"dropout_rate": 1.0, "seed": SEED}, "dropout rate is 1, expected"),
        ({"window": -1}, "window is -1"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(changes, message, device):
    if device == "GPU" and re.match(r"(lengths|query_offset)\\\[", message):
        pytest.skip("a GPU takes them into their range (attention_cuda.h)")
    shapes = {"query": (2, 9, 4, 8), "key": (2, 11, 4, 8), "value": (2, 11, 4, 8)}
    arguments = {name: tf.zeros(changes.get(name, shape)) for name, shape in shapes.items()}
    arguments |= {name: value for name, value in changes.items() if name not in shapes}
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        from kerasllm_ops.attention import attention as op

        op(**arguments)


@needs_native
def test_a_length_out_of_range_is_refused_by_the_compiled_program(device):
    if device == "GPU":
        pytest.skip("a GPU takes lengths into their range (attention_cuda.h)")
    query, key, value, _ = (tf.cast(t, "float32") for t in tensors())
    compiled = tf.function(lambda n: attention(query, key, value, lengths=n), jit_compile=True)
    assert compiled(tf.constant([3, 11])).shape == query.shape
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"lengths\[1\] is 12"):
        compiled(tf.constant([3, 12]))


def test_dropout_without_a_seed_is_refused():
    query, key, value, _ = tensors()
    with pytest.raises(ValueError, match="expected a seed"):
        attention(query, key, value, dropout_rate=0.5)


@needs_native
def test_static_shapes_are_known_in_a_graph_and_second_gradients_are_refused():
    @tf.function(input_signature=[tf.TensorSpec((None, None, 4, 8), tf.float32)])
    def function(x):
        outputs = attention(x, x, x)
        assert outputs.shape.as_list() == [None, None, 4, 8]
        return outputs

    assert function(tf.ones((2, 3, 4, 8))).shape == (2, 3, 4, 8)
    x = tf.ones((1, 3, 2, 4))
    with pytest.raises(NotImplementedError, match="second derivative"), tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            loss = tf.reduce_sum(attention(x, x, x) ** 2)
        gradient = inner.gradient(loss, x)
        outer.gradient(tf.reduce_sum(gradient), x)
