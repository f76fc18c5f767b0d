"""kerasllm.ops.adamw against NumPy in float64, and fused against composed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasllm import native
from kerasllm.ops.adamw import adamw, composed_adamw

needs_native = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")
SHAPES = [(59, 7), (1,), (0, 3), (128, 300), (5,), ()]


def make(dtype="float32", gradient_dtype=None):
    """Variables, momentums, velocities and gradients."""
    random = np.random.default_rng(0)

    def values(scale):
        return [scale * random.normal(size=shape) for shape in SHAPES]

    groups = [values(1.0), values(0.1), [np.abs(value) for value in values(0.1)]]
    variables = [[keras.Variable(v, dtype=dtype) for v in group] for group in groups]
    gradients = [tf.cast(tf.constant(g), gradient_dtype or dtype) for g in values(1.0)]
    return *variables, gradients


def reference(parameters, momentums, velocities, gradients, learning_rate, step, **settings):
    """Kingma and Ba's algorithm with decoupled decay, in NumPy."""
    exact = [[np.array(v, "float64") for v in g] for g in (parameters, momentums, velocities)]
    gradients = [np.array(tf.cast(g, "float64")) for g in gradients]
    clipnorm = settings.get("global_clipnorm", 0)
    if clipnorm:
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        gradients = [g * min(1, clipnorm / norm) for g in gradients]
    decays = settings.get("decays") or [True] * len(SHAPES)
    multipliers = settings.get("multipliers") or [1.0] * len(SHAPES)
    for p, m, v, g, decay, multiplier in zip(*exact, gradients, decays, multipliers, strict=True):
        rate = learning_rate * multiplier
        if decay:
            p *= 1 - settings.get("weight_decay", 0) * rate
        m[...] = 0.9 * m + 0.1 * g
        v[...] = 0.999 * v + 0.001 * g**2
        # Keras's epsilon is the one of the paper's section 2, scaled by the bias correction.
        alpha = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        p -= alpha * m / (np.sqrt(v) + 1e-7)
    return exact


SETTINGS = [
    {},
    {"weight_decay": 0.01, "decays": [True, False, True, False, True, True]},
    {"global_clipnorm": 0.5, "weight_decay": 0.1},
    {"global_clipnorm": 1e6},
    {"weight_decay": 0.1, "multipliers": [1.0, 0.5, 0.0, 0.25, 2.0, 0.1]},
]


@needs_native
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("gradients", ["float32", "bfloat16"])
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_fused_is_the_reference(jit_compile, gradients, settings):
    *groups, gradients = make("float32", gradients)
    expected = reference(*groups, gradients, 0.01, 3, **settings)

    def run(step):
        adamw(*groups, gradients, 0.01, step, **settings)

    run = run if jit_compile is None else tf.function(run, jit_compile=jit_compile)
    run(tf.constant(3))
    for variables, values in zip(groups, expected, strict=True):
        for variable, value in zip(variables, values, strict=True):
            np.testing.assert_allclose(variable, value, rtol=2e-6, atol=2e-6)


@needs_native
def test_fused_has_the_bits_of_tensorflows_own_operations():
    *groups, gradients = make()
    settings = {"weight_decay": 0.01}
    values = [[variable.value for variable in group] for group in groups]
    expected = composed_adamw(*values, gradients, 0.01, 3, **settings)
    adamw(*groups, gradients, 0.01, 3, **settings)
    for variables, values in zip(groups, expected, strict=True):
        for variable, value in zip(variables, values, strict=True):
            np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("settings", SETTINGS)
def test_composed_in_float64_is_the_reference(settings):
    *groups, gradients = make("float64")
    expected = reference(*groups, gradients, 0.01, 3, **settings)
    adamw(*groups, gradients, 0.01, 3, **settings)
    for variables, values in zip(groups, expected, strict=True):
        for variable, value in zip(variables, values, strict=True):
            np.testing.assert_allclose(variable, value, rtol=1e-12, atol=1e-12)


@needs_native
def test_a_value_read_before_the_step_keeps_its_numbers():
    """A read shares the variable's buffer, which the step must then not write into."""
    *groups, gradients = make()
    before = [variable.value.read_value() for variable in groups[0]]
    copies = [np.array(value) for value in before]
    adamw(*groups, gradients, 0.1, 1)
    for value, copy, variable in zip(before, copies, groups[0], strict=True):
        np.testing.assert_array_equal(value, copy)
        assert copy.size == 0 or not np.array_equal(variable, copy)


@needs_native
def test_what_does_not_fit_is_refused_and_nothing_is_changed():
    *groups, gradients = make()
    before = [np.array(variable) for variable in groups[0]]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"gradients\[4\] has shape \[6\]"):
        adamw(*groups, [*gradients[:4], tf.zeros(6), gradients[5]], 0.1, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"momentums\[0\] has shape \[0,3\]"):
        wrong = keras.Variable(np.zeros((0, 3)), dtype="float32")
        adamw(groups[0], [wrong, *groups[1][1:]], groups[2], gradients, 0.1, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a variable is given twice"):
        adamw(groups[0], groups[0], groups[2], gradients, 0.1, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected as many"):
        adamw(*groups, gradients, 0.1, 1, decays=[True])
    with pytest.raises(tf.errors.InvalidArgumentError, match="2 multipliers for 6 parameters"):
        adamw(*groups, gradients, 0.1, 1, multipliers=[1.0, 0.5])
    for variable, old in zip(groups[0], before, strict=True):
        np.testing.assert_array_equal(variable, old)


@needs_native
def test_a_norm_that_is_not_finite_gives_nan():
    *groups, gradients = make()
    adamw(*groups, [gradients[0] * np.inf, *gradients[1:]], 0.1, 1, global_clipnorm=1.0)
    assert np.isnan(np.array(groups[0][3])).all()
