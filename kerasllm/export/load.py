"""Reading a SavedModel that takes texts."""

import pathlib
import re

import numpy as np
from kerasllm_ops.loader import load as load_library

from kerasllm.export.save import DESCRIPTION_FILE, FORMAT, SAVED_MODEL_FILE, TOKENIZERS, VERSION
from kerasllm.files import read_json_object
from kerasllm.text import TextPipeline, WordPiecePipeline
from kerasllm.text.tokenizer import check_texts

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextModel:
    """A SavedModel that `save_text_model` wrote, ready to classify.

    Threads may share it. `load_text_model` makes it.

    Examples:

    >>> model = kerasllm.export.load_text_model("runs/demo/saved_model")
    >>> model.predict(["房间很干净，还会再来"])
    [('positive', 0.93)]

    Attributes:
        labels: The names of the classes, in the order of the probabilities.
        signature: The function `serving_default` of the SavedModel.
    """

    def __init__(self, loaded, description, tokenizer):
        self._loaded = loaded  # keeps the variables alive
        self._tokenizer = tokenizer
        self._max_length = description["max_length"]
        self.labels = description["labels"]
        self.signature = loaded.signatures["serving_default"]

    def __call__(self, texts):
        """What the signature returns for one batch of texts, as a dict of NumPy arrays.

        Args:
            texts: A list of str.
        """
        import tensorflow as tf

        texts = [_valid(text) for text in check_texts(texts)]
        if self._tokenizer is None:
            inputs = {"texts": tf.constant(texts, tf.string, (len(texts),))}
        else:
            inputs = self._encode(texts)
        return {name: value.numpy() for name, value in self.signature(**inputs).items()}

    def probabilities(self, texts, batch_size=256):
        """The probability of each class for each text.

        Args:
            texts: A list of str.
            batch_size: Texts in a batch.

        Returns:
            float32 array `(len(texts), num_classes)`.
        """
        texts = check_texts(texts)
        result = np.zeros((len(texts), len(self.labels)), np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for begin in range(0, len(texts), batch_size):
            rows = order[begin : begin + batch_size]
            result[rows] = self([texts[row] for row in rows])["probabilities"]
        return result

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

    def _encode(self, texts):
        """The input of a portable model."""
        import tensorflow as tf

        if isinstance(self._tokenizer, TextPipeline):
            ragged = tf.ragged.constant(self._tokenizer.encode(texts), tf.int32, ragged_rank=1)
            return {"token_ids": ragged.to_tensor()}
        tokenizer = self._tokenizer
        if isinstance(tokenizer, WordPiecePipeline):
            texts, tokenizer = [tokenizer.cleaner(text) for text in texts], tokenizer.tokenizer
        encoded = tokenizer.encode(texts, max_length=self._max_length)
        return {name: tf.constant(value) for name, value in encoded.items()}


def _valid(text):
    """A text with the halves of surrogate pairs joined, and lone ones replaced by U+FFFD."""
    if _SURROGATE.search(text):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def load_text_model(path):
    """Loads a SavedModel that `save_text_model` wrote.

    Examples:

    >>> kerasllm.export.load_text_model("served").predict(["房间很干净，还会再来"])
    [('positive', 0.93)]

    Args:
        path: The folder.

    Returns:
        A `TextModel`.

    Raises:
        FileNotFoundError: If there is no SavedModel.
        ValueError: If it is broken, or of another kind.
        RuntimeError: If it needs the native library and that is not there; the message says why.
    """
    path = pathlib.Path(path)
    if not (path / SAVED_MODEL_FILE).is_file():
        raise FileNotFoundError(f"{path} holds no SavedModel: {SAVED_MODEL_FILE} is missing.")
    description = _read_description(path / "assets" / DESCRIPTION_FILE)
    missing = _missing_ops(path / SAVED_MODEL_FILE)
    if missing:
        raise RuntimeError(f"{path} cannot be loaded here: {missing}")
    import tensorflow as tf

    tokenizer = None
    if description["portable"]:
        known = {each.__name__: each for each in TOKENIZERS}
        tokenizer = known[description["tokenizer"]].load(path / "assets")
    return TextModel(tf.saved_model.load(str(path)), description, tokenizer)


def op_names(path):
    """The names of all ops in a `saved_model.pb`, a set.

    Raises:
        ValueError: If the file is none.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(pathlib.Path(path).read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path} is broken, it is no SavedModel: {error}.") from error
    graphs = [meta_graph.graph_def for meta_graph in saved.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for each in graph.library.function for node in each.node_def]
    return {node.op for node in nodes}


def _missing_ops(path):
    """Why the ops of a SavedModel are not all here, as a sentence; None if they are."""
    needed = {name for name in op_names(path) if name.startswith("Kerasllm")}
    if not needed:
        return None
    library = load_library()
    if library.ops is None:
        mend = f" To mend it: {library.mend}." if library.mend else ""
        return f"it needs the ops of kerasllm, but {library.problem}.{mend}"
    lacking = sorted(name for name in needed if not hasattr(library.ops, name))
    if lacking:
        return (
            f"the native library lacks {', '.join(lacking)}. To mend it: install a newer kerasllm."
        )
    return None


def _read_description(path):
    if not path.is_file():
        raise ValueError(
            f"{path.parents[1]} was not written by kerasllm.export.save_text_model: it lacks"
            f" assets/{path.name}."
        )
    description = read_json_object(path)
    if description.get("format") != FORMAT:
        raise ValueError(f'{path} is not of this kind: it lacks "format": "{FORMAT}".')
    if description.get("version") != VERSION:
        raise ValueError(
            f"{path} is of version {description.get('version')!r}, but this kerasllm reads version"
            f" {VERSION}."
        )
    return description
