"""A step of Adam over a model's variables, against keras.optimizers.Adam.

Dense gradients on both sides. GB/s count four reads and three writes of an element (parameter,
momentum, velocity; gradient), beside those of NumPy's copy, a read and a write, on one thread.

The bfloat16 rows are of bfloat16 variables and gradients. Keras's own has bfloat16 moments, no
master weights and half the bytes, and loses small steps; "composed" is the step on master
weights in Keras's operations, with which ours is checked.
"""

import keras
import numpy as np
import tensorflow as tf

import kerasllm
from benchmarks import measure

STOCK = "stock"
CALLS = 10  # timed together: from rest a single one is mostly the waking of threads


def transformer_shapes(vocabulary=21_128, width=256, layers=4, positions=512):
    """The variables of a BERT of this size."""
    norm = [(width,), (width,)]
    block = 4 * [(width, width), (width,)] + norm
    block += [(width, 4 * width), (4 * width,), (4 * width, width), (width,), *norm]
    return [(vocabulary, width), (positions, width), *norm, *(layers * block)]


def classifier_shapes(vocabulary=10_000, width=128):
    """Those of EmbeddingLSTMClassifier."""
    model = kerasllm.models.EmbeddingLSTMClassifier(vocabulary, 2, width, width)
    return [tuple(variable.shape) for variable in model.trainable_variables]


def build(optimizer, shapes, jit_compile, dtype="float32"):
    """A function of gradients that takes a step, and the variables."""
    random = np.random.default_rng(0)
    variables = [keras.Variable(random.normal(size=shape), dtype=dtype) for shape in shapes]
    optimizer.build(variables)

    @tf.function(jit_compile=jit_compile)
    def step(gradients):
        optimizer.apply(gradients, variables)

    return step, variables


def measure_model(name, shapes, repeats):
    random = np.random.default_rng(1)
    gradients = [tf.constant(random.normal(size=shape), tf.float32) for shape in shapes]
    elements = sum(int(np.prod(shape)) for shape in shapes)
    source = np.ones(elements, "float32")
    target = np.empty_like(source)
    rows = []
    for work, kwargs in {"adam": {}, "adamw, clipped": {"global_clipnorm": 1.0}}.items():
        class_name = "AdamW" if kwargs else "Adam"
        stock, ours = (getattr(m.optimizers, class_name) for m in (keras, kerasllm))
        built = {
            STOCK: build(stock(**kwargs), shapes, False),
            "stock jit": build(stock(**kwargs), shapes, True),
            "ours": build(ours(**kwargs), shapes, False),
            "ours jit": build(ours(**kwargs), shapes, True),
        }
        for step, _ in built.values():
            step(gradients)
        for who, (_, variables) in built.items():
            for mine, expected in zip(variables, built[STOCK][1], strict=True):
                difference = np.abs(np.array(mine) - np.array(expected)).max()
                if not difference <= 2e-6:
                    raise AssertionError(f"{who} differs from stock by {difference}")
        functions = {who: (lambda s=step: s(gradients)) for who, (step, _) in built.items()}
        functions["copy"] = lambda: np.copyto(target, source)
        times = measure.interleave_calls(functions, CALLS, repeats)
        dtypes = dict.fromkeys(functions, "float32")
        found = measure.rows(work, f"{name}, {elements / 1e6:.1f}M", times, dtypes, STOCK)
        for row in found:
            row.gbytes = elements * 4 * (2 if row.who == "copy" else 7) / row.p50 / 1e6
        rows += found
    return rows


def measure_master_weights(name, shapes, repeats):
    random = np.random.default_rng(1)
    gradients = [tf.constant(random.normal(size=shape), tf.bfloat16) for shape in shapes]
    elements = sum(int(np.prod(shape)) for shape in shapes)
    composed = kerasllm.optimizers.Adam()
    composed._served = lambda *_: False
    built = {
        STOCK: build(keras.optimizers.Adam(), shapes, False, "bfloat16"),
        "stock jit": build(keras.optimizers.Adam(), shapes, True, "bfloat16"),
        "composed": build(composed, shapes, False, "bfloat16"),
        "ours": build(kerasllm.optimizers.Adam(), shapes, False, "bfloat16"),
        "ours jit": build(kerasllm.optimizers.Adam(), shapes, True, "bfloat16"),
    }
    for step, _ in built.values():
        step(gradients)
    for who in ("ours", "ours jit"):
        for mine, expected in zip(built[who][1], built["composed"][1], strict=True):
            if not np.array_equal(np.array(mine, "float32"), np.array(expected, "float32")):
                raise AssertionError(f"{who} differs from the composed step")
    functions = {who: (lambda s=step: s(gradients)) for who, (step, _) in built.items()}
    times = measure.interleave_calls(functions, CALLS, repeats)
    dtypes = dict.fromkeys(functions, "bfloat16")
    found = measure.rows(
        "adam, master weights", f"{name}, {elements / 1e6:.1f}M", times, dtypes, STOCK
    )
    for row in found:
        # Ours: master weights, moments, variable read and written; gradient read.
        row.gbytes = elements * (14 if row.who.startswith(STOCK) else 30) / row.p50 / 1e6
    return found


def run(quick=False):
    repeats = 9 if quick else 41
    models = {"classifier": classifier_shapes(), "4-layer BERT": transformer_shapes()}
    rows = []
    for name, shapes in models.items():
        rows += measure_model(name, shapes, repeats)
        rows += measure_master_weights(name, shapes, repeats)
    return rows
