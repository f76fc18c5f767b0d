"""The number that is explained, and the place where a model turns ids into vectors."""

import contextlib

import numpy as np
from keras import ops

OUTPUTS = ("logit", "probability")


def check_token_ids(token_ids):
    """One text's ids as an array `(1, time)`.

    Raises:
        ValueError: If they are not ints `(time,)` or `(1, time)`, one or more.
    """
    token_ids = np.asarray(token_ids)
    if token_ids.ndim == 2 and len(token_ids) == 1:
        token_ids = token_ids[0]
    if token_ids.ndim != 1 or token_ids.size == 0 or token_ids.dtype.kind not in "iu":
        raise ValueError(
            f"token_ids have the shape {token_ids.shape} and dtype {token_ids.dtype}; expected the "
            "ids of one text, ints (time,)."
        )
    return token_ids.astype("int32")[None]


def class_output(model, token_ids, target, output="logit"):
    """What a model from token ids to logits gives for one class.

    Args:
        model: The model.
        token_ids: ints `(batch, time)`.
        target: The class's number.
        output: `"logit"` or `"probability"`.

    Returns:
        A tensor `(batch,)`, float32.
    """
    if output not in OUTPUTS:
        raise ValueError(f"output is {output!r}; expected one of {OUTPUTS}.")
    logits = ops.cast(model(token_ids, training=False), "float32")
    return (ops.softmax(logits) if output == "probability" else logits)[:, target]


def likeliest_class(model, token_ids):
    """The number of the class with the largest logit."""
    return int(np.argmax(ops.convert_to_numpy(model(token_ids, training=False))[0]))


@contextlib.contextmanager
def replaced_call(layer, call):
    """Within the block the layer computes `call(original_call, *args, **kwargs)`.

    The rest of the layer stays: its mask is still that of the ids it is given. So does what another
    one has put in the place of its call.
    """
    original, hooked = layer.call, "call" in vars(layer)

    def replacement(*args, **kwargs):
        return call(original, *args, **kwargs)

    layer.call = replacement
    try:
        yield
    finally:
        if hooked:
            layer.call = original
        else:
            del layer.call
