"""A trained model together with the text pipeline that it was trained with."""

import pathlib

import keras
import numpy as np

from kerasllm.data import make_prediction_batches
from kerasllm.files import replace_file
from kerasllm.models.loading import load_model, save_without_optimizer
from kerasllm.text import load_pipeline

MODEL_FILE = "model.keras"


class TextClassifier:
    """From raw texts to class names and probabilities.

    Examples:

    >>> classifier = kerasllm.TextClassifier.load("runs/demo")
    >>> classifier.predict(["房间很干净，还会再来"])
    [('positive', 0.93)]

    Args:
        model: A Keras model from token ids `(batch, time)` to logits `(batch, num_classes)`.
        pipeline: The `kerasllm.text.TextPipeline`, or `WordPiecePipeline`, that made its training
            data, with labels.

    Raises:
        ValueError: If the pipeline has no labels, or not as many as the model has classes, or more
            tokens than the model has vectors.
    """

    def __init__(self, model, pipeline):
        if pipeline.labels is None:
            raise ValueError("The pipeline has no labels; fit it with labels=.")
        if model.output_shape[-1] != len(pipeline.labels):
            raise ValueError(
                f"The model has {model.output_shape[-1]} classes, but the pipeline has "
                f"{len(pipeline.labels)} labels: they are not of one training."
            )
        table_rows, tokens = _table_rows(model), len(pipeline.vocabulary)
        if table_rows is not None and tokens > table_rows:
            raise ValueError(
                f"The model has vectors for {table_rows} tokens, but the pipeline's vocabulary has "
                f"{tokens}: they are not of one training. Bring back the files that were saved "
                "together."
            )
        self.model, self.pipeline = model, pipeline

    @property
    def labels(self):
        """The class names, in the order of the probabilities."""
        return self.pipeline.labels

    def probabilities(self, texts, batch_size=256):
        """The probability of each class for each text.

        Texts are cleaned as in training; one with nothing left is read as one unknown word.

        Args:
            texts: A list of str.
            batch_size: Texts in a batch.

        Returns:
            float32 array `(len(texts), num_classes)`; each row sums to 1.
        """
        if len(texts) == 0:
            return np.zeros((0, len(self.labels)), "float32")
        batches, order = make_prediction_batches(self.pipeline.encode(texts), batch_size)
        logits = self.model.predict(batches, verbose=0)[order]
        return keras.ops.convert_to_numpy(keras.ops.softmax(logits))

    def predict(self, texts, batch_size=256):
        """The likeliest class of each text.

        Args:
            texts: A list of str.
            batch_size: Texts in a batch.

        Returns:
            A list of `(class name, probability)`.
        """
        probabilities = self.probabilities(texts, batch_size)
        return [(self.labels[row.argmax()], float(row.max())) for row in probabilities]

    def save(self, folder):
        """Writes `model.keras`, without the state of its optimizer, and the pipeline's files,
        `text_pipeline.json` and its vocabulary, into a folder."""
        folder = pathlib.Path(folder)
        self.pipeline.save(folder)
        with replace_file(folder / MODEL_FILE) as temporary:
            save_without_optimizer(self.model, temporary)

    def export(self, path, portable=False):
        """Writes a SavedModel that takes texts and gives labels; see `export.save_text_model`.

        Args:
            path: The folder to write.
            portable: Whether it should do without any op of kerasllm, and take token ids.
        """
        from kerasllm.export import save_text_model

        save_text_model(self.model, self.pipeline, self.labels, path, portable=portable)

    @classmethod
    def load(cls, folder):
        """Reads what `save`, or the classification recipe, wrote.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If one is damaged.
        """
        folder = pathlib.Path(folder)
        if not (folder / MODEL_FILE).is_file():
            raise FileNotFoundError(
                f"{folder} holds no trained classifier: {MODEL_FILE} is missing."
            )
        return cls(load_model(folder / MODEL_FILE), load_pipeline(folder))


def _table_rows(model):
    """The number of token ids of a model of ours, or None."""
    return getattr(getattr(model, "backbone", model), "vocabulary_size", None)
