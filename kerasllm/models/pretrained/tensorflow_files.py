"""Reads the original checkpoints of BERT, bert_model.ckpt."""

import re

_TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")
_STATE = re.compile(r"/adam_[mv]$|^global_step$")
_WHOLE_NAMES = {
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
    # Of run_classifier.py: (classes, hidden), as in PyTorch.
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
}


def open_tensorflow_checkpoint(prefix):
    """Opens a checkpoint of google-research/bert.

    Args:
        prefix: The path without `.index` and `.data-00000-of-00001`.

    Returns:
        A tuple of the source, a dict of transformers' names to shapes, and a function of such a
        name that gives the array.

    Raises:
        ValueError: If it is damaged.
    """
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        found = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, IndexError, ValueError) as error:
        raise ValueError(f"{prefix} is damaged or incomplete: {error}.") from error
    names = {transformers_name(name): name for name in found if not _STATE.search(name)}
    shapes = {
        new: found[old][::-1] if old.endswith("/kernel") else found[old]
        for new, old in names.items()
    }

    def read(name):
        try:
            array = reader.get_tensor(names[name])
        except (tf.errors.OpError, IndexError, ValueError) as error:
            raise ValueError(f"{prefix} is damaged or incomplete: {error}.") from error
        return array.T if names[name].endswith("/kernel") else array

    return prefix, shapes, read


def transformers_name(name):
    """The name in transformers of a variable of the original BERT."""
    if name in _WHOLE_NAMES:
        return _WHOLE_NAMES[name]
    *path, last = re.sub(r"/layer_(\d+)/", r"/layer/\1/", name).split("/")
    if last in _TABLES:
        path, last = [*path, last], "weight"
    last = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(last, last)
    return ".".join([*path, last])
