"""A KerasHub BERT backbone before and after kerasllm.accelerate: predict, the same weights.

Needs keras-hub (an extra of the tests).
"""

import keras
import numpy as np
import tensorflow as tf

import kerasllm
from benchmarks import measure

# (batch, time, width, heads, layers)
SHAPES = [(8, 128, 768, 12, 12), (64, 128, 256, 4, 4)]
POLICIES = {"float32": "", "mixed_bfloat16": " mixed"}


def build(time, width, heads, layers, policy):
    import keras_hub

    keras.utils.set_random_seed(3)
    return keras_hub.models.BertBackbone(
        vocabulary_size=21128,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=4 * width,
        max_sequence_length=time,
        dtype=policy,
    )


def predict_function(model, inputs, jit_compile):
    function = tf.function(
        lambda ids: model(ids, training=False)["pooled_output"], jit_compile=jit_compile
    )
    return lambda: function(inputs).numpy()


def measure_shape(batch, time, width, heads, layers, repeats):
    random = np.random.default_rng(0)
    lengths = random.integers(time // 2, time + 1, batch)
    inputs = {
        "token_ids": tf.constant(random.integers(1, 21128, (batch, time)), tf.int32),
        "segment_ids": tf.zeros((batch, time), tf.int32),
        "padding_mask": tf.constant(np.arange(time) < lengths[:, None]),
    }
    functions, dtypes, results = {}, {}, {}
    for policy, label in POLICIES.items():
        for who in ("keras-hub", "accelerated"):
            model = build(time, width, heads, layers, policy)
            if who == "accelerated":
                kerasllm.accelerate(model)
            for jit_compile in (False, True):
                name = f"{who}{label}{' jit' * jit_compile}"
                functions[name] = predict_function(model, inputs, jit_compile)
                dtypes[name] = policy
                results[name] = functions[name]()
    for name, policy in dtypes.items():
        difference = np.abs(results[name].astype("float32") - results["keras-hub"]).max()
        if not difference <= (1e-5 if policy == "float32" else 0.1):
            raise AssertionError(f"{name} differs from KerasHub by {difference}")
    flops = 2 * batch * time * layers * (12 * width * width + 2 * time * width)
    times = measure.interleave(functions, repeats)
    shape = f"{batch} x {time}, width {width}, {layers} layers"
    return measure.rows("predict", shape, times, dtypes, "keras-hub", flops)


def run(quick=False):
    for shape in SHAPES[-1:] if quick else SHAPES:
        yield measure_shape(*shape, repeats=3 if quick else 7)
