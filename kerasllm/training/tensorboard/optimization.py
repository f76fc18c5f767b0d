"""How the optimization goes: learning rate, gradient norms, weight norms."""

import keras
import numpy as np
from keras import ops

from kerasllm.training.tensorboard.part import Part, write_scalars
from kerasllm.training.tensorboard.step_hooks import hook_gradients


class LearningRate(Part):
    """The learning rate of batches, that of a schedule too; Keras logs that of epochs only."""

    def batch_end(self, board, step, logs):
        if board.writes_batch(step):
            optimizer = getattr(board.model.optimizer, "inner_optimizer", board.model.optimizer)
            rate = float(ops.convert_to_numpy(optimizer.learning_rate))
            write_scalars(board.train_writer, {"batch_learning_rate": rate}, step)


class GradientNorms(Part):
    """The Euclidean norms of the gradients, before clipping: of all and of each weight.

    They are measured in every training step, on the device, and logged as the means of the epoch:
    `gradients/global_norm` and `gradient_norms/WEIGHT`; with `update_freq` the global norm of
    batches too. Under `tf.distribute` they are the means of the replicas' norms.
    """

    def begin(self, board):
        model = board.model
        self._last = None
        self._names = [variable.path for variable in model.trainable_variables]
        with model.distribute_strategy.scope():
            self._norms = _MeanVector(len(self._names) + 1)
        self._unhook = hook_gradients(model, lambda g, v: self._see(g, v, model.jit_compile))

    def _see(self, gradients, variables, jit_compile):
        found = {
            variable.path: _squared_norm(gradient, jit_compile)
            for gradient, variable in zip(gradients, variables, strict=True)
            if gradient is not None
        }
        squares = ops.stack([found.get(name, 0.0) for name in self._names])
        squares = ops.concatenate([ops.sum(squares, keepdims=True), squares])
        self._norms.update_state(ops.sqrt(squares))

    def epoch_begin(self, board, epoch):
        self._norms.reset_state()
        self._last = np.zeros(2)

    def batch_end(self, board, step, logs):
        if board.writes_batch(step):
            count = float(ops.convert_to_numpy(self._norms.count))
            total = float(ops.convert_to_numpy(self._norms.total)[0])
            norm = (total - self._last[0]) / max(1.0, count - self._last[1])
            self._last = np.array([total, count])
            write_scalars(board.train_writer, {"batch_gradient_norm": norm}, step)

    def epoch_end(self, board, epoch, logs):
        norms = ops.convert_to_numpy(self._norms.result())
        tags = ["gradients/global_norm", *(f"gradient_norms/{name}" for name in self._names)]
        write_scalars(board.train_writer, dict(zip(tags, norms, strict=True)), epoch)

    def end(self, board):
        self._unhook()


class WeightNorms(Part):
    """The Euclidean norm of each weight after each epoch, as `weight_norms/WEIGHT`."""

    def epoch_end(self, board, epoch, logs):
        norms = {
            f"weight_norms/{weight.path}": float(
                np.linalg.norm(np.ravel(ops.convert_to_numpy(ops.cast(weight, "float32"))))
            )
            for weight in board.model.weights
            if "float" in keras.backend.standardize_dtype(weight.dtype)
        }
        write_scalars(board.train_writer, norms, epoch)


class _MeanVector(keras.metrics.Metric):
    """The mean of vectors over steps and replicas."""

    def __init__(self, size):
        super().__init__(name="norms", dtype="float32")
        self.total = self.add_variable((size,), "zeros", name="total", dtype="float32")
        self.count = self.add_variable((), "zeros", name="count", dtype="float32")

    def update_state(self, values):
        self.total.assign_add(values)
        self.count.assign_add(1.0)

    def result(self):
        return ops.divide_no_nan(self.total, self.count)


def _squared_norm(gradient, jit_compile):
    """The sum of squares; of an embedding's gradient without making its whole table."""
    import tensorflow as tf

    if isinstance(gradient, tf.IndexedSlices):
        if jit_compile:  # XLA has no tf.unique
            gradient = tf.convert_to_tensor(gradient)
        else:
            rows, places = tf.unique(gradient.indices)
            gradient = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
    return tf.reduce_sum(tf.square(tf.cast(gradient, tf.float32)))
