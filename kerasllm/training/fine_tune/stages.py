"""A model of transformer blocks as stages, from the embeddings up."""

from dataclasses import dataclass

import keras

from kerasllm.layers.transformer_block import TransformerBlock


@dataclass(frozen=True)
class Stages:
    """The layers of a model in the order in which they compute.

    Attributes:
        embeddings: A list of layers: all before the first transformer block.
        blocks: For each transformer block from the lowest up a list of layers: the block, and what
            lies between it and the next one.
        head: A list of layers: all behind the last block.
    """

    embeddings: list
    blocks: list
    head: list

    @property
    def transformer_blocks(self):
        """The blocks themselves, from the lowest up."""
        return [layers[0] for layers in self.blocks]

    def depth(self):
        """All stages, from the embeddings to the head: a list of lists of layers."""
        return [self.embeddings, *self.blocks, self.head]


def find_stages(model):
    """The stages of a model.

    Args:
        model: A built Keras model with transformer blocks of `kerasllm.layers`, at any depth of
            nested models.

    Returns:
        A `Stages`. A block that is used several times is one stage. Those of an adapted model are
        those of its base.

    Raises:
        ValueError: If the model has no such block.
    """
    if hasattr(model, "adapters"):  # an AdaptedModel
        model = model.base
    units = list(_units(model, seen=set()))
    places = [place for place, unit in enumerate(units) if isinstance(unit, TransformerBlock)]
    if not places:
        raise ValueError(
            f"{model.name} has no transformer block of kerasllm.layers, so its layers cannot be "
            "told apart by depth."
        )
    ends = [*places[1:], places[-1] + 1]
    return Stages(
        embeddings=units[: places[0]],
        blocks=[units[begin:end] for begin, end in zip(places, ends, strict=True)],
        head=units[ends[-1] :],
    )


def _units(layer, seen):
    """The blocks, and the largest layers that hold none, in the order in which they compute."""
    for child in layer.layers if isinstance(layer, keras.Model) else layer._layers:
        if id(child) in seen:
            continue
        seen.add(id(child))
        if isinstance(child, TransformerBlock) or not _has_block(child):
            yield child
        else:
            yield from _units(child, seen)


def _has_block(layer):
    return any(isinstance(inner, TransformerBlock) for inner in layer._flatten_layers())
