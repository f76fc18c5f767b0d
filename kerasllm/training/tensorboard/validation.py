"""What the model makes of the validation rows after each epoch: curves, a matrix, samples."""

import html
import re

import keras
import numpy as np

from kerasllm.evaluation.plots import require_matplotlib
from kerasllm.evaluation.report import confusion_matrix
from kerasllm.training.tensorboard.images import write_confusion_matrix
from kerasllm.training.tensorboard.part import Part


class Validation(Part):
    """Precision-recall curves, the confusion matrix as an image, and texts with predictions.

    The rows are predicted once an epoch for all three.

    Args:
        data: A `tf.data.Dataset` of batches `(inputs, labels)` or `(inputs, labels, weights)`, or a
            tuple of arrays; labels are ints `(rows,)`.
        label_names: The names of the classes; their numbers by default.
        texts: The text of each row, in order; without them there are no samples.
        from_logits: Whether the model gives logits, the default, or probabilities.
        num_samples: How many texts to show, evenly spread over the rows.
        every: Epochs from one report to the next; the last epoch of `fit` always has one.
        batch_size: Rows in a batch where `data` are arrays.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: In training, if there are not as many texts as rows, or as many names as
            classes.
    """

    def __init__(
        self,
        data,
        label_names=None,
        texts=None,
        from_logits=True,
        num_samples=10,
        every=1,
        batch_size=256,
    ):
        require_matplotlib()
        self.data, self.label_names, self.texts = data, label_names, texts
        self.from_logits, self.num_samples = from_logits, num_samples
        self.every, self.batch_size = every, batch_size

    def epoch_end(self, board, epoch, logs):
        last = epoch + 1 == (board.params or {}).get("epochs") or board.model.stop_training
        if (epoch + 1) % self.every and not last:
            return
        labels, probabilities = self._predict(board.model)
        names = self.label_names
        if names is None:
            names = [str(number) for number in range(probabilities.shape[1])]
        if len(names) != probabilities.shape[1]:
            raise ValueError(
                f"There are {len(names)} label_names, but the model has "
                f"{probabilities.shape[1]} classes."
            )
        writer = board.validation_writer
        write_pr_curves(writer, labels, probabilities, names, epoch)
        counts = confusion_matrix(labels, probabilities.argmax(axis=1), len(names))
        write_confusion_matrix(writer, "confusion_matrix", counts, epoch, names)
        if self.texts is not None:
            if len(self.texts) != len(labels):
                raise ValueError(f"There are {len(self.texts)} texts for {len(labels)} rows.")
            rows = np.unique(np.linspace(0, len(labels) - 1, self.num_samples).astype(int))
            texts = [self.texts[row] for row in rows]
            write_text_samples(writer, texts, labels[rows], probabilities[rows], names, epoch)

    def _predict(self, model):
        """Labels `(rows,)` and probabilities `(rows, num_classes)`."""
        labels, scores = [], []
        for batch in self._batches():
            inputs, batch_labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
            scores.append(np.array(model.predict_on_batch(inputs)))
            labels.append(np.ravel(keras.ops.convert_to_numpy(batch_labels)))
        scores = np.concatenate(scores).astype("float32")
        if self.from_logits:
            scores = keras.ops.convert_to_numpy(keras.ops.softmax(scores))
        return np.concatenate(labels).astype(int), scores

    def _batches(self):
        if not isinstance(self.data, (tuple, list)):
            yield from self.data
            return
        inputs, labels = self.data[:2]
        for start in range(0, len(labels), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield keras.tree.map_structure(lambda x, rows=rows: x[rows], inputs), labels[rows]


def write_pr_curves(writer, labels, probabilities, names, step):
    """Writes each class's precision-recall curve against all others, under `pr_curves/NAME`.

    Args:
        writer: A writer of `tf.summary`.
        labels: ints `(rows,)`.
        probabilities: float `(rows, num_classes)`.
        names: The names of the classes.
        step: The step.
    """
    import tensorflow as tf
    from tensorboard.plugins.pr_curve import summary

    with writer.as_default(step):
        for index, name in enumerate(names):
            message = summary.pb(
                f"pr_curves/{name}",
                labels == index,
                probabilities[:, index].clip(0, 1),
                display_name=str(name),
            )
            tf.summary.experimental.write_raw_pb(message.SerializeToString())


def write_text_samples(writer, texts, labels, probabilities, names, step):
    """Writes a table of texts with truth, prediction and its probability, under `samples`.

    Args:
        writer: A writer of `tf.summary`.
        texts: A list of str.
        labels: ints `(rows,)`.
        probabilities: float `(rows, num_classes)`.
        names: The names of the classes.
        step: The step.
    """
    import tensorflow as tf

    lines = ["| | text | truth | prediction | probability |", "|---|---|---|---|---|"]
    for text, label, row in zip(texts, labels, probabilities, strict=True):
        guess = row.argmax()
        cells = text, names[label], names[guess]
        lines.append(
            f"| {'✓' if guess == label else '✗'} | "
            + " | ".join(_cell(str(cell)) for cell in cells)
            + f" | {row[guess]:.1%} |"
        )
    with writer.as_default(step):
        tf.summary.text("samples", "\n".join(lines))


def _cell(text):
    """Text that Markdown shows as it is, on one line."""
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", text)
