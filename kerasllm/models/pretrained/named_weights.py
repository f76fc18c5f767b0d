"""Which weight of a model is which tensor of a folder."""

import dataclasses

import keras

HEAD_LAYERS = frozenset(
    {"pooler", "logits", "transform", "transform_norm", "vocabulary_bias", "token_logits"}
)


@dataclasses.dataclass(frozen=True)
class NamedWeight:
    """A weight and its tensor.

    Attributes:
        variable: The Keras variable.
        transposed: Whether the tensor is the variable's transpose, as those of dense kernels are.
        head: Whether it belongs to what stands on the encoder, and may be new.
    """

    variable: keras.Variable
    transposed: bool
    head: bool

    @property
    def shape(self):
        """The tensor's shape."""
        shape = tuple(self.variable.shape)
        return shape[::-1] if self.transposed else shape


def named_weights(model, family):
    """The weights of a BERT model by the names of their tensors.

    Args:
        model: A `BertBackbone` or a model with one.
        family: A `Family`.

    Returns:
        A dict of name to `NamedWeight`, in the order of the layers.

    Raises:
        ValueError: If the model has a layer that the family has no name for.
    """
    weights = {}

    def add(name, variable, transposed=False, head=False):
        weights[name] = NamedWeight(variable, transposed, head)

    for layer_name, layer, block in _layers(model):
        if layer_name not in family.layers:
            raise ValueError(
                f"The model has {layer_name}, which tensors of {family.prefix[:-1]} do not; "
                "give the backbone another model_type."
            )
        name = family.layers[layer_name].format(block)
        head = layer_name in HEAD_LAYERS
        if isinstance(layer, keras.layers.Dense):
            if layer.lora_enabled:
                raise ValueError(f"{layer.path} has LoRA; merge it into the kernel first.")
            add(f"{name}.weight", layer._kernel, transposed=True, head=head)
            add(f"{name}.bias", layer.bias, head=head)
        elif isinstance(layer, keras.layers.LayerNormalization):
            add(f"{name}.weight", layer.gamma, head=head)
            add(f"{name}.bias", layer.beta, head=head)
        else:
            add(name, layer, head=head)
    return weights


def _layers(model):
    """Yields name, layer or variable, and number of the block."""
    backbone = getattr(model, "backbone", model)
    embedding = backbone.embedding
    yield "token_embeddings", embedding.token_embeddings, None
    yield "position_embeddings", embedding.position_embeddings, None
    if backbone.num_segments:
        yield "segment_embeddings", embedding.segment_embeddings, None
    yield "embedding_norm", backbone.embedding_norm, None
    if backbone.embedding_projection is not None:
        yield "embedding_projection", backbone.embedding_projection, None
    for index, block in enumerate(
        backbone.blocks[:1] if backbone.share_blocks else backbone.blocks
    ):
        yield "query", block.attention.query_dense, index
        yield "key", block.attention.key_dense, index
        yield "value", block.attention.value_dense, index
        yield "attention_output", block.attention.output_dense, index
        yield "attention_norm", block.attention_norm, index
        yield "intermediate", block.intermediate_dense, index
        yield "output", block.output_dense, index
        yield "feed_forward_norm", block.feed_forward_norm, index
    if backbone.pooler is not None:
        yield "pooler", backbone.pooler, None
    if hasattr(model, "transform_dense"):
        yield "transform", model.transform_dense, None
        yield "transform_norm", model.transform_norm, None
        yield "vocabulary_bias", model.vocabulary_loss.bias, None
    elif hasattr(model, "output_dense"):
        over_tokens = len(model.output_shape) == 3
        yield "token_logits" if over_tokens else "logits", model.output_dense, None
