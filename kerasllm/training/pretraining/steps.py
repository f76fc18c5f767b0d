"""Several training steps in one compiled call."""

import functools

import keras
import numpy as np


class CompiledSteps:
    """Runs training steps on TensorFlow, as many in one call as batches are given.

    A call of a compiled function costs Python about a millisecond, which a small model's step does
    not have. The loop over steps is therefore in the graph, one step after the other, with the same
    result as one call for each.

    Args:
        model: A Keras model whose `compute_loss(x=inputs, y_pred=outputs)` is the loss, and whose
            outputs for inputs with labels are `(losses, correct)`.
        optimizer: A Keras optimizer whose learning rate is a number.
        ignored_label: The label of positions that do not count.

    Raises:
        ValueError: If Keras runs on another backend than TensorFlow.
    """

    def __init__(self, model, optimizer, ignored_label=-1):
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "Pretraining needs Keras on TensorFlow, but it runs on "
                f"{keras.backend.backend()}; set KERAS_BACKEND=tensorflow."
            )
        self.model = model
        self.optimizer = optimizer
        self.ignored_label = ignored_label
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        self._functions = {}

    def __call__(self, batches, learning_rates):
        """Runs the steps.

        Args:
            batches: dict of name to an array `(steps, rows, ...)`, the inputs of all steps.
            learning_rates: A list of floats, one for each step.

        Returns:
            `(losses, norms, accuracies)`: float32 arrays `(steps,)`; the norms are those of the
            gradients before clipping.

        Raises:
            MemoryError: If a step needs more memory than there is.
        """
        import tensorflow as tf

        # One trace, whatever the number of steps and rows.
        key = tuple((name, array.shape[2:]) for name, array in sorted(batches.items()))
        if key not in self._functions:
            signature = {
                name: tf.TensorSpec((None, None, *array.shape[2:]), array.dtype)
                for name, array in batches.items()
            }
            self._functions[key] = tf.function(
                functools.partial(self._run, tf),
                input_signature=(signature, tf.TensorSpec((None,), tf.float32)),
                autograph=False,
            )
        try:
            results = self._functions[key](
                {name: tf.convert_to_tensor(array) for name, array in batches.items()},
                tf.convert_to_tensor(np.asarray(learning_rates, np.float32)),
            )
            return results.numpy()
        except tf.errors.ResourceExhaustedError as error:
            rows, tokens = next(iter(batches.values())).shape[1:3]
            raise MemoryError(
                f"A batch of {rows} rows of {tokens} tokens takes more memory than there is; take a"
                " smaller --batch-size, or a smaller model. Checkpoints are as they were."
            ) from error

    def _run(self, tf, batches, learning_rates):
        count = tf.shape(learning_rates)[0]

        def step(index, results):
            inputs = {name: array[index] for name, array in batches.items()}
            results_of_step = self._step(tf, inputs, learning_rates[index])
            return index + 1, results.write(index, results_of_step)

        results = tf.TensorArray(tf.float32, count, element_shape=(3,))
        _, results = tf.while_loop(
            lambda index, _: index < count, step, (0, results), parallel_iterations=1
        )
        return tf.transpose(results.stack())

    def _step(self, tf, inputs, learning_rate):
        model, weights = self.model, self.model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = model.compute_loss(x=inputs, y_pred=outputs, training=True)
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        # What the loss does not depend on, such as a pooler in pretraining, stays as it is.
        used = [pair for pair in zip(gradients, weights, strict=True) if pair[0] is not None]
        gradients, weights = zip(*used, strict=True)
        norm = tf.linalg.global_norm(gradients)
        self.optimizer.learning_rate.assign(learning_rate)
        self.optimizer.apply(list(gradients), list(weights))
        counted = tf.cast(inputs["labels"] != self.ignored_label, tf.float32)
        correct = tf.reduce_sum(tf.cast(outputs[1], tf.float32))
        accuracy = correct / tf.maximum(tf.reduce_sum(counted), 1)
        return tf.stack([tf.cast(loss, tf.float32), tf.cast(norm, tf.float32), accuracy])
