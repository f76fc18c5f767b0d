"""Leaving the lower layers as they are, for good or for some epochs."""

import keras

from kerasllm.training.fine_tune.stages import find_stages


def freeze(model, embeddings=True, blocks=0):
    """Freezes the lowest layers of a model, and thaws all others.

    No gradients are computed below the lowest layer that trains, so steps get faster. Compile the
    model afterwards: an optimizer knows the variables that it was built for.

    Examples:

    >>> freeze(model, blocks=6)
    >>> freeze(model, embeddings=False)  # all train again

    Args:
        model: A built Keras model with transformer blocks of `kerasllm.layers`.
        embeddings: Whether the embeddings, and what else lies below the first block, are frozen.
        blocks: How many blocks are frozen, from the lowest up.

    Returns:
        The model.

    Raises:
        ValueError: If there are fewer blocks, or blocks are to be frozen over embeddings that are
            not: their gradients would need all that freezing saves.
    """
    stages = _freezable_stages(model)
    if not 0 <= blocks <= len(stages.blocks):
        raise ValueError(f"{blocks} blocks are to be frozen, but there are {len(stages.blocks)}.")
    if blocks and not embeddings:
        raise ValueError("Blocks are frozen from below: with blocks, embeddings should be too.")
    _train_from(stages, blocks + 1 if embeddings else 0)
    return model


class GradualUnfreezing(keras.callbacks.Callback):
    """Trains the head first, then one block more every few epochs, from the highest down.

    A new head's large first gradients so do not reach what was pretrained. The embeddings thaw
    last. The optimizer has its moments of all variables from the start. Outside of a training epoch
    all layers are thawed, so that a model that is saved is a whole one; give this callback before
    those that save. Each thaw compiles the step anew.

    Source: Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, 2018.

    Examples:

    >>> model.fit(batches, epochs=5, callbacks=[GradualUnfreezing(epochs_per_block=1)])

    Args:
        epochs_per_block: Epochs after which the next block thaws, 1 or more.
        blocks_at_first: Blocks that train from the first epoch on. 0 by default: only the head.

    Raises:
        ValueError: If an argument makes no sense; in training, if the model has no blocks.
    """

    def __init__(self, epochs_per_block=1, blocks_at_first=0):
        super().__init__()
        if epochs_per_block < 1 or blocks_at_first < 0:
            raise ValueError(
                f"epochs_per_block is {epochs_per_block} and blocks_at_first {blocks_at_first}; "
                "expected 1 or more, and 0 or more."
            )
        self.epochs_per_block, self.blocks_at_first = epochs_per_block, blocks_at_first
        self._stages, self._compiled_from = None, None

    def lowest_stage(self, epoch):
        """The lowest stage that trains in an epoch: 0 is the embeddings, 1 the lowest block."""
        thawed = self.blocks_at_first + epoch // self.epochs_per_block
        return max(0, len(self._stages.blocks) + 1 - thawed)

    def on_train_begin(self, logs=None):
        self._stages, self._compiled_from = _freezable_stages(self.model), None
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)

    def on_epoch_begin(self, epoch, logs=None):
        lowest = self.lowest_stage(epoch)
        _train_from(self._stages, lowest)
        if lowest != self._compiled_from:
            self.model.make_train_function(force=True)
            self._compiled_from = lowest

    def on_test_begin(self, logs=None):
        self._thaw()

    def on_epoch_end(self, epoch, logs=None):
        self._thaw()  # where there was no validation

    def on_train_end(self, logs=None):
        self._thaw()
        self.model.train_function = None

    def _thaw(self):
        if self._stages is not None:
            _train_from(self._stages, 0)


def _freezable_stages(model):
    if hasattr(model, "adapters"):
        raise ValueError(f"{model.name} is an adapted model: its method says what trains.")
    return find_stages(model)


def _train_from(stages, lowest):
    """Sets which stages train: those from a number on."""
    for depth, stage in enumerate(stages.depth()):
        for layer in stage:
            layer.trainable = depth >= lowest
