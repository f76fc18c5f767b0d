"""Lower layers learn slower."""

from kerasllm.training.fine_tune.stages import find_stages


def layer_multipliers(model, decay):
    """What the learning rate of each stage is multiplied by, for `learning_rate_multipliers` of
    `kerasllm.optimizers.AdamW`.

    The head has the whole learning rate, the highest block `decay` of it, each block below `decay`
    of that of the block above, the embeddings least: what is general is to change less than what is
    of the task.

    Source: Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, 2018
    (discriminative fine-tuning); in this form Clark, Luong, Le and Manning, ELECTRA, 2020.

    Examples:

    >>> multipliers = layer_multipliers(model, 0.9)
    >>> optimizer = kerasllm.optimizers.AdamW(2e-5, learning_rate_multipliers=multipliers)

    Args:
        model: A built Keras model with transformer blocks of `kerasllm.layers`.
        decay: A float in `(0, 1]`.

    Returns:
        A dict from paths of layers to floats; the head is not in it.

    Raises:
        ValueError: If `decay` is out of range, or the model has no such blocks.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay is {decay}; expected above 0, at most 1.")
    *stages, _ = find_stages(model).depth()
    return {
        layer.path: decay ** (len(stages) - depth)
        for depth, stage in enumerate(stages)
        for layer in stage
        if layer.trainable_variables
    }
