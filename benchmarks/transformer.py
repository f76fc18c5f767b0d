"""The transformer classifier against the same model of stock Keras layers: predict and train step.

4 layers, width 256, 4 heads, feed-forward 1024, dropout 0.1. Both are measured with jit off, which
is Keras's default on a CPU, and on; stock trains with Keras's AdamW, ours with ours.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import kerasllm
from benchmarks import measure

VOCABULARY, CLASSES, DROPOUT = 10_000, 10, 0.1
# (batch, time, width, heads, layers)
SHAPES = [(64, 128, 256, 4, 4), (1, 16, 256, 4, 4), (8, 512, 256, 4, 4)]
STOCK = "stock"


def build_ours(time, width, heads, layers, policy):
    return kerasllm.models.TransformerClassifier(
        VOCABULARY,
        CLASSES,
        hidden_dim=width,
        num_layers=layers,
        num_heads=heads,
        max_length=time,
        dropout=DROPOUT,
        dtype=policy,
    )


def build_stock(time, width, heads, layers, policy):
    """The same model as a user of Keras writes it, its weights in the same order."""

    def layer(kind, *arguments, **options):
        return getattr(keras.layers, kind)(*arguments, dtype=policy, **options)

    token_ids = keras.Input((None,), dtype="int32")
    x = layer("Embedding", VOCABULARY, width, mask_zero=True)(token_ids)
    positions = keras.ops.cumsum(keras.ops.ones_like(token_ids), axis=1) - 1
    x = layer("Add")([x, layer("Embedding", time, width)(positions)])
    x = layer("LayerNormalization", epsilon=1e-6)(x)
    x = layer("Dropout", DROPOUT)(x)
    for _ in range(layers):
        attended = layer("MultiHeadAttention", heads, width // heads, dropout=DROPOUT)(x, x)
        attended = layer("Dropout", DROPOUT)(attended)
        x = layer("LayerNormalization", epsilon=1e-6)(layer("Add")([x, attended]))
        hidden = layer("Dense", 4 * width, activation="gelu")(x)
        hidden = layer("Dropout", DROPOUT)(layer("Dense", width)(hidden))
        x = layer("LayerNormalization", epsilon=1e-6)(layer("Add")([x, hidden]))
    x = layer("Dropout", DROPOUT)(layer("GlobalAveragePooling1D")(x))
    return keras.Model(token_ids, keras.layers.Dense(CLASSES, dtype="float32")(x))


def copy_weights(ours, stock):
    """Gives the stock model the weights of ours; the kernels of heads have another shape there."""
    for target, value in zip(stock.trainable_weights, ours.trainable_weights, strict=True):
        target.assign(keras.ops.reshape(value, target.shape))


def compiled(model, optimizers, jit_compile):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers.AdamW(1e-4), loss, jit_compile=jit_compile)
    return model


def variants(*sizes):
    """name -> (model, dtype policy), all with the same weights."""
    keras.utils.set_random_seed(7)
    first = build_ours(*sizes, "float32")
    result = {}
    for name, build, optimizers in (
        (STOCK, build_stock, keras.optimizers),
        ("ours", build_ours, kerasllm.optimizers),
    ):
        for policy, label in (("float32", ""), ("mixed_bfloat16", " mixed")):
            for jit_compile in (False, True):
                model = build(*sizes, policy)
                copy_weights(first, model)
                compiled(model, optimizers, jit_compile)
                result[f"{name}{label}{' jit' * jit_compile}"] = model, policy
    return result


def predict_function(model, token_ids):
    function = tf.function(
        lambda ids: model(ids, training=False), jit_compile=bool(model.jit_compile)
    )
    return lambda: function(token_ids).numpy()


def check_equality(models, token_ids):
    """The thing timed is the thing checked: logits agree within each dtype's error."""
    reference = models[STOCK][0](token_ids).numpy()
    for name, (model, policy) in models.items():
        difference = np.abs(model(token_ids).numpy() - reference).max()
        limit = 1e-5 if policy == "float32" else 5e-2
        if not difference <= limit * max(1.0, np.abs(reference).max()):
            raise AssertionError(f"{name} differs from stock by {difference}, limit {limit}")


def measure_shape(batch, time, width, heads, layers, repeats):
    random = np.random.default_rng(0)
    token_ids = tf.constant(random.integers(1, VOCABULARY, (batch, time)), tf.int32)
    labels = tf.constant(random.integers(0, CLASSES, batch))
    models = variants(time, width, heads, layers)
    check_equality(models, token_ids)
    dtypes = {name: policy for name, (_, policy) in models.items()}
    shape = f"{batch} x {time}, width {width}, {layers} layers"
    # Dense layers (12 width^2 a token) and attention (2 products of time x width), 2 flops each.
    flops = 2 * batch * time * layers * (12 * width * width + 2 * time * width)
    works = {
        "predict": (1, lambda model: predict_function(model, token_ids)),
        "train step": (3, lambda model: lambda: model.train_on_batch(token_ids, labels)),
    }
    rows = []
    for work, (passes, make) in works.items():
        functions = {name: make(model) for name, (model, _) in models.items()}
        times = measure.interleave(functions, repeats)
        rows += measure.rows(work, shape, times, dtypes, STOCK, passes * flops)
    for row in rows:
        if row.work == "train step" and not row.who.endswith("jit"):
            owner = row.who.split()[0]
            row.peak_mb = measure.peak_memory(
                "benchmarks.transformer", owner, row.dtype, batch, time, width, heads, layers
            )
    return rows


def print_peak_memory(owner, policy, batch, time, *sizes):
    """Prints by how many megabytes three train steps raise this process's peak memory."""
    build, optimizers = {
        STOCK: (build_stock, keras.optimizers),
        "ours": (build_ours, kerasllm.optimizers),
    }[owner]
    model = compiled(build(time, *sizes, policy), optimizers, False)
    random = np.random.default_rng(0)
    model.train_on_batch(np.ones((1, 2), "int32"), np.zeros(1, "int32"))
    with measure.peak_of_this_process() as peak:
        for _ in range(3):
            model.train_on_batch(
                random.integers(1, VOCABULARY, (batch, time)), random.integers(0, CLASSES, batch)
            )
    print(peak["megabytes"])


def run(quick=False):
    for shape in SHAPES[:1] if quick else SHAPES:
        yield measure_shape(*shape, repeats=5 if quick else 9)


if __name__ == "__main__":
    print_peak_memory(*sys.argv[1:3], *map(int, sys.argv[3:]))
