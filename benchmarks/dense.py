"""A dense layer's product, forward and backward, against TensorFlow's matmul.

Stock is measured with jit off and on. Outside of XLA the layers use TensorFlow's: this shows why.
"""

import numpy as np
import tensorflow as tf
from kerasllm_ops.dense import dense

from benchmarks.layer_norm import compare

# rows, input_dim, units
SHAPES = [
    (64, 128, 64),
    (8192, 256, 256),
    (8192, 256, 1024),
    (8192, 1024, 256),
    (1024, 768, 3072),
    (1024, 2048, 2048),
]


def run(quick=False):
    random = np.random.default_rng(0)
    rows = []
    for count, input_dim, units in SHAPES[:1] if quick else SHAPES:
        for dtype in ("float32", "bfloat16"):
            inputs = tf.cast(random.normal(size=(count, input_dim)), dtype)
            kernel = tf.cast(random.normal(size=(input_dim, units)), dtype)
            d_outputs = tf.cast(random.normal(size=(count, units)), dtype)
            rows += compare(
                "dense",
                f"{count} x {input_dim} x {units}",
                (tf.matmul, dense),
                (inputs, kernel),
                d_outputs,
                repeats=5 if quick else 15,
                flops=6 * count * input_dim * units,
            )
    return rows
