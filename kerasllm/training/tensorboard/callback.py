"""Keras's TensorBoard callback, with parts for what it lacks."""

import copy

import keras
import numpy as np

from kerasllm.training.tensorboard.images import write_confusion_matrix
from kerasllm.training.tensorboard.part import split_logs


class TensorBoard(keras.callbacks.TensorBoard):
    """`keras.callbacks.TensorBoard` that logs more, each thing by a part of its own.

    Keras's own callback writes the logged scalars and the learning rate of each epoch, and on
    request those of batches (`update_freq`), weight histograms (`histogram_freq`) and traces of
    chosen steps (`profile_batch`), where our ops are seen by name. The parts add the rest. Matrices
    that metrics log (`kerasllm.metrics.ConfusionMatrix`) become images. The object can be
    deep-copied before and after a run and makes no file before `fit`, as Keras Tuner needs it.

    Examples:

    >>> board = kerasllm.training.TensorBoard(
    ...     "runs/hotel/tensorboard",
    ...     [
    ...         *default_parts(),
    ...         HParams({"dropout": 0.5}, monitor="val_macro_f1"),
    ...         Validation(valid_batches, pipeline.labels, texts=valid_texts),
    ...         EmbeddingProjector(pipeline.vocabulary.tokens),
    ...     ],
    ...     histogram_freq=1,
    ... )
    >>> model.fit(batches, validation_data=valid_batches, epochs=5, callbacks=[board])

    Args:
        log_dir: The run's folder.
        parts: A list of `Part`; by default `default_parts()`: the learning rate, gradient and
            weight norms, throughput and memory.
        **options: Those of `keras.callbacks.TensorBoard`. `embeddings_freq`, which does not work
            in Keras 3, is replaced by `EmbeddingProjector`.

    Raises:
        ValueError: If an embedding option of Keras's callback is given.
    """

    def __init__(self, log_dir="logs", parts=None, **options):
        if options.get("embeddings_freq") or options.get("embeddings_metadata"):
            raise ValueError(
                "TensorBoard cannot read the projector files that Keras writes; give the part "
                "EmbeddingProjector(tokens) in place of embeddings_freq and embeddings_metadata."
            )
        super().__init__(log_dir, **options)
        if parts is None:
            from kerasllm.training.tensorboard import default_parts

            parts = default_parts()
        self.parts = list(parts)

    @property
    def train_writer(self):
        """The writer of what comes from training steps."""
        return self._train_writer

    @property
    def validation_writer(self):
        """The writer of what comes from validation rows."""
        return self._val_writer

    @property
    def run_writer(self):
        """The writer of what belongs to the run as a whole."""
        if "run" not in self._writers:
            self._writers["run"] = self.summary.create_file_writer(self.log_dir)
        return self._writers["run"]

    def writes_batch(self, step):
        """Whether `update_freq` asks for this batch."""
        return self.update_freq != "epoch" and step % self.update_freq == 0

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        for part in self.parts:
            part.begin(self)

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        for part in self.parts:
            part.epoch_begin(self, epoch)

    def on_train_batch_end(self, batch, logs=None):
        numbers, _ = split_logs(logs)
        super().on_train_batch_end(batch, numbers)
        for part in self.parts:
            part.batch_end(self, self._global_train_batch, numbers)

    def on_test_end(self, logs=None):
        super().on_test_end(split_logs(logs)[0])

    def on_epoch_end(self, epoch, logs=None):
        numbers, matrices = split_logs(logs)
        super().on_epoch_end(epoch, numbers)
        for name, matrix in matrices.items():
            matrix = np.array(keras.ops.convert_to_numpy(matrix))
            if matrix.ndim == 2:
                writer = self._val_writer if name.startswith("val_") else self._train_writer
                write_confusion_matrix(writer, f"epoch_{name.removeprefix('val_')}", matrix, epoch)
        for part in self.parts:
            part.epoch_end(self, epoch, numbers)
        for writer in self._writers.values():
            writer.flush()  # so that an open TensorBoard, or a killed run, has whole epochs

    def on_train_end(self, logs=None):
        for part in self.parts:
            part.end(self)
        super().on_train_end(logs)

    def __deepcopy__(self, memo):
        """A callback of the same settings that has not run yet."""
        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.parts = copy.deepcopy(self.parts, memo)
        twin._model = twin._params = twin._summary_module = twin._batch_trace_context = None
        twin._writers, twin._prev_summary_state = {}, []
        twin._is_tracing = twin._profiler_started = False
        return twin
