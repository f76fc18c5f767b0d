"""What the output loses when tokens are hidden."""

import numpy as np
from keras import ops

from kerasllm.explain.attribution import Attribution
from kerasllm.explain.outputs import check_token_ids, class_output, likeliest_class


def occlusion(
    model, token_ids, target=None, replacement=1, window=1, output="probability", batch_size=64
):
    """Attributes a class's output to the tokens by hiding them, one window after another.

    A token's score is the mean, over the windows that it is in, of the output's fall when the
    window's tokens are replaced. It needs no gradients, so any model from ids to logits will do.
    Source: Matthew D. Zeiler, Rob Fergus, "Visualizing and Understanding Convolutional Networks",
    2014, there of images.

    Args:
        model: A model from token ids `(batch, time)` to logits `(batch, num_classes)`.
        token_ids: ints `(time,)`, those of one text.
        target: The number of the class; the likeliest by default.
        replacement: The id that hides a token; 1, that of unknown words, by default.
        window: How many neighbouring tokens are hidden at once.
        output: `"probability"` or `"logit"`: what is explained.
        batch_size: Variants of the text in one call of the model.

    Returns:
        An `Attribution`; its tokens are the ids, and it has no baseline.

    Raises:
        ValueError: If `window` makes no sense, or as for `integrated_gradients`.
    """
    token_ids = check_token_ids(token_ids)
    time = token_ids.shape[1]
    if not 1 <= window <= time:
        raise ValueError(f"window is {window}; expected 1 to the text's {time} tokens.")
    target = likeliest_class(model, token_ids) if target is None else target
    starts = np.arange(time - window + 1)
    hidden = (np.arange(time) >= starts[:, None]) & (np.arange(time) < starts[:, None] + window)
    variants = np.concatenate([token_ids, np.where(hidden, replacement, token_ids)])
    outputs = np.concatenate(
        [
            ops.convert_to_numpy(class_output(model, rows, target, output))
            for rows in np.split(variants, np.arange(batch_size, len(variants), batch_size))
        ]
    ).astype("float64")
    falls = outputs[0] - outputs[1:]
    return Attribution(
        tokens=[str(token_id) for token_id in token_ids[0]],
        scores=(falls[:, None] * hidden).sum(axis=0) / hidden.sum(axis=0),
        label=str(target),
        output=float(outputs[0]),
    )
