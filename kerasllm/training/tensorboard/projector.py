"""The embedding projector, with the words of the vocabulary."""

import pathlib

import keras
import numpy as np

from kerasllm.files import atomic_write
from kerasllm.models.embedding import find_embedding
from kerasllm.training.tensorboard.part import Part

CONFIG = "projector_config.pbtxt"


class EmbeddingProjector(Part):
    """Shows an embedding layer's vectors in TensorBoard's projector, named by their tokens.

    Keras 3's own `embeddings_freq` writes a weights file that the projector cannot read (keras
    issue 20210). The files are written when training ends.

    Args:
        tokens: The token of each id, such as `vocabulary.tokens`.
        layer: The embedding layer's name; needed only where a model has several.
        max_tokens: How many vectors to show, from id 0: vocabularies begin with the most frequent
            words. 10,000 by default, which is also as many as the projector lays out.

    Raises:
        ValueError: In training, if there is no such layer, or there are fewer ids than tokens.
    """

    def __init__(self, tokens, layer=None, max_tokens=10_000):
        self.tokens, self.layer, self.max_tokens = tokens, layer, max_tokens

    def begin(self, board):
        self._embedding = find_embedding(board.model, self.layer)
        size = self._embedding.embeddings.shape[0]
        if len(self.tokens) > size:
            raise ValueError(
                f"There are {len(self.tokens)} tokens, but {self._embedding.name} has {size} ids."
            )

    def end(self, board):
        count = min(len(self.tokens), self.max_tokens)
        vectors = keras.ops.convert_to_numpy(self._embedding.embeddings[:count])
        # Among the events of training: the projector looks only where there are some.
        folder = pathlib.Path(board.log_dir) / "train"
        write_projector(folder, vectors, self.tokens[:count], self._embedding.name)


def write_projector(folder, vectors, tokens, name="embedding"):
    """Writes what TensorBoard's projector reads: vectors, tokens and a config that names both.

    The vectors go into a text file: the plugin takes a binary one for text wherever its first bytes
    happen to be so.

    Args:
        folder: A run's folder, or the log folder itself.
        vectors: float `(rows, dim)`.
        tokens: A token for each row.
        name: What the tensor is called.

    Raises:
        ValueError: If there are not as many tokens as rows.
    """
    from google.protobuf import text_format
    from tensorboard.plugins import projector

    folder, vectors = pathlib.Path(folder), np.asarray(vectors, "float32")
    if vectors.ndim != 2 or len(tokens) != len(vectors):
        raise ValueError(
            f"vectors have the shape {vectors.shape} for {len(tokens)} tokens; expected a row each."
        )
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = name
    embedding.tensor_path = f"{name}_vectors.tsv"
    embedding.metadata_path = f"{name}_metadata.tsv"
    embedding.tensor_shape.extend(vectors.shape)
    with atomic_write(folder / embedding.tensor_path) as file:
        np.savetxt(file, vectors, fmt="%.6g", delimiter="\t")
    with atomic_write(folder / embedding.metadata_path) as file:
        file.write("token\tid\n")  # a header, as there are two columns
        file.writelines(f"{_visible(token)}\t{row}\n" for row, token in enumerate(tokens))
    with atomic_write(folder / CONFIG) as file:
        file.write(text_format.MessageToString(config))


def _visible(token):
    """A token as one cell of a table: blanks and what cannot be printed are written as escapes."""
    shown = "".join(c if c.isprintable() and c != " " else repr(f"{c}")[1:-1] for c in token)
    return shown.replace(" ", "␠") or "(empty)"
