"""Averages of the weights over training: SWA and EMA."""

import keras


class WeightAverage(keras.callbacks.Callback):
    """Validates and saves the average of the weights, and trains on with the weights themselves.

    Without `decay` the weights at the ends of epochs are averaged, each counting the same
    (stochastic weight averaging); with it, the weights after each step are averaged, each step
    counting `decay` times as much as the next (exponential moving average, without any bias towards
    the first). From validation to the next epoch's first step, and
    after training, the model holds the average, so callbacks that save at an epoch's end, such as
    `kerasllm.training.KeepBest`, save the average; give them after this one. A run that is resumed
    from such a file goes on from the average, and averages anew.

    It takes one more copy of the trainable weights. Statistics of batch normalisation are not
    averaged.

    Examples:

    >>> model.fit(batches, validation_data=valid, epochs=10,
    ...           callbacks=[WeightAverage(start_epoch=5), keep_best])

    Source: Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, Averaging Weights Leads to Wider Optima
    and Better Generalization, 2018; Polyak, Juditsky, Acceleration of Stochastic Approximation by
    Averaging, 1992.

    Args:
        decay: What a step counts against the next, in `(0, 1)`, such as 0.99; None for SWA. About
            the last `1 / (1 - decay)` steps count.
        start_epoch: The first epoch that is averaged, from 0. Before it the model is validated as
            it is.

    Raises:
        ValueError: If an argument makes no sense.
    """

    def __init__(self, decay=None, start_epoch=0):
        super().__init__()
        if decay is not None and not 0 < decay < 1:
            raise ValueError(f"decay is {decay}; expected a number between 0 and 1, or None.")
        if start_epoch < 0:
            raise ValueError(f"start_epoch is {start_epoch}; expected 0 or more.")
        self.decay, self.start_epoch = decay, start_epoch
        self._averages, self._move = None, None
        self._count, self._epoch, self._swapped = 0, 0, False

    def on_train_begin(self, logs=None):
        self._averages, self._count, self._swapped = None, 0, False

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._swap_to(False)

    def on_train_batch_end(self, batch, logs=None):
        if self.decay is not None and self._epoch >= self.start_epoch:
            self._accumulate((1 - self.decay) / (1 - self.decay ** (self._count + 1)))

    def on_test_begin(self, logs=None):
        self._finish_epoch()

    def on_epoch_end(self, epoch, logs=None):
        self._finish_epoch()  # where there was no validation

    def _finish_epoch(self):
        if self._swapped or self._epoch < self.start_epoch:
            return
        if self.decay is None:
            self._accumulate(1 / (self._count + 1))
        if self._count:
            self._swap_to(True)

    def _accumulate(self, share):
        """Moves the average by a share of the way to the weights; first it is the weights."""
        if self._averages is None:
            self._averages = [
                keras.Variable(weight, trainable=False) for weight in self.model.trainable_weights
            ]
            self._move = _compiled(self._move_averages)
        else:
            self._move(keras.ops.convert_to_tensor(share, "float32"))
        self._count += 1

    def _move_averages(self, share):
        for average, weight in zip(self._averages, self.model.trainable_weights, strict=True):
            average.assign_add(keras.ops.cast(share, average.dtype) * (weight - average))

    def _swap_to(self, averaged):
        if self._swapped == averaged:
            return
        for average, weight in zip(self._averages, self.model.trainable_weights, strict=True):
            kept = keras.ops.copy(weight.value)
            weight.assign(average.value)
            average.assign(kept)
        self._swapped = averaged


def _compiled(function):
    """One graph for all weights, where the backend has graphs."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function)
