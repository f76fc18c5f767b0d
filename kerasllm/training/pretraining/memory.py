"""How many rows of a batch the memory has room for, about."""

import math
import pathlib
import re

# Float32 of the variable, of its gradient and of Adam's two moments; 2 more bytes for the copy that
# mixed precision computes with.
_BYTES_PER_WEIGHT = {"float32": 16, "mixed_bfloat16": 18}
# What the backward pass needs of each token and layer, in vectors of hidden_dim: of a transformer
# the input, the two normalised ones, query, key, value, attention's result, the sum behind it, and
# about 8 of the feed-forward branch; of an LSTM the input, the four gates, cell and output.
_VECTORS = {"lstm": 8}
_TRANSFORMER_VECTORS = 16
# The rest is for buffers, batches and what else runs.
_USED_SHARE = 0.8


def fit_batch_into_memory(shape, dtype="float32", say=print):
    """Makes the batches of a `LanguageModelShape` smaller, if the memory has no room for them.

    Args:
        shape: A `LanguageModelShape`; its `batch_size` becomes a power of two then.
        dtype: The dtype policy.
        say: Called with a sentence if it does.
    """
    free = free_memory()
    rows = shape.batch_size if free is None else rows_in_memory(shape, free, dtype)
    if rows < shape.batch_size:
        wanted, shape.batch_size = shape.batch_size, 2 ** int(math.log2(rows))
        say(
            f"batches of {shape.batch_size} rows in place of {wanted}: {free / 2**30:.1f} GiB of "
            "memory are free (--batch-size takes another number)"
        )


def free_memory():
    """Bytes that the device which trains has free, or None where that cannot be told.

    On a GPU what TensorFlow may take of the first one, less what it has taken; else what Linux
    calls available.
    """
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        from tensorflow.python.client import device_lib

        limits = [d.memory_limit for d in device_lib.list_local_devices() if d.device_type == "GPU"]
        return limits[0] - tf.config.experimental.get_memory_info("GPU:0")["current"]
    try:
        found = re.search(
            r"^MemAvailable: +(\d+) kB", pathlib.Path("/proc/meminfo").read_text(), re.M
        )
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def rows_in_memory(shape, free_bytes, dtype="float32"):
    """The most rows of a batch that a language model can train on in so much memory, 1 at least.

    An estimate: the weights with gradients and the optimizer's state, and what is saved of each
    token and layer for the backward pass. The vocabulary loss stores no logits.

    Args:
        shape: A `LanguageModelShape`.
        free_bytes: What is free before the model is built.
        dtype: The dtype policy.
    """
    mixed = "bfloat16" in dtype
    weights = shape.weights() * _BYTES_PER_WEIGHT["mixed_bfloat16" if mixed else "float32"]
    vectors = _VECTORS.get(shape.model, _TRANSFORMER_VECTORS) * shape.num_layers
    row = shape.length * vectors * shape.hidden_dim * (2 if mixed else 4)
    return max(1, int((_USED_SHARE * free_bytes - weights) / row))
