"""The callback under tf.distribute, over two virtual processors."""

import pathlib

from processes import run_python

DISTRIBUTED = """
import sys
sys.path.insert(0, sys.argv[1])
import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kerasllm.training import TensorBoard
from training.tensorboard.runs import read_scalars

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(9, 4)(ids)
    model = keras.Model(ids, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
ids, labels = np.arange(96).reshape(16, 6) % 9, np.arange(16) % 2
norms = []
for half in (slice(0, 8), slice(8, 16)):  # what each replica gets
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(keras.losses.sparse_categorical_crossentropy(
            labels[half], model(ids[half]), from_logits=True)) / 16
    gradients = tape.gradient(value, model.trainable_variables)
    norms.append(tf.linalg.global_norm([tf.convert_to_tensor(g) for g in gradients]).numpy())
data = tf.data.Dataset.from_tensor_slices((ids, labels)).batch(16)
model.fit(data, epochs=2, verbose=0, shuffle=False,
          callbacks=[TensorBoard(sys.argv[2], update_freq=1)])
train = read_scalars(sys.argv[2] + "/train")
print("scale", train["gradients/global_norm"][1][1] / np.mean(norms))
for name in ("samples", "tokens"):
    rate, steps = (train[f"throughput/{n}_per_second"][1][1] for n in (name, "steps"))
    print(name, round(rate / steps, 3))
"""


def test_two_replicas_are_counted_together(tmp_path):
    tests = pathlib.Path(__file__).resolve().parents[2]
    output = run_python("-c", DISTRIBUTED, tests, tmp_path).stdout
    lines = dict(line.split() for line in output.splitlines() if len(line.split()) == 2)
    assert float(lines["samples"]) == 16
    assert float(lines["tokens"]) == 96 - 11  # without the padding
    # Keras divides a replica's loss by the replicas, or by their rows: the norm's scale is 1 or 2.
    assert min(abs(float(lines["scale"]) - scale) for scale in (1, 2)) < 1e-3
