"""The families of pretrained encoders, as data: how their configs and tensors are named.

A family says, for each argument of `BertBackbone`, which key of config.json has it, and, for each
layer of our models, which tensors of a Hugging Face folder are its weights. `{}` stands for the
number of a block.
"""

import dataclasses

# In config.json, most families name sizes as BERT does.
_BERT_KEYS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "feed_forward_dim": "intermediate_size",
    "max_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "epsilon": "layer_norm_eps",
}
# What a config need not say, as in the configs of the original BERT.
_DEFAULTS = {"num_segments": 2, "activation": "gelu", "dropout": 0.1, "epsilon": 1e-12}

_BERT_LAYERS = {
    "token_embeddings": "bert.embeddings.word_embeddings.weight",
    "position_embeddings": "bert.embeddings.position_embeddings.weight",
    "segment_embeddings": "bert.embeddings.token_type_embeddings.weight",
    "embedding_norm": "bert.embeddings.LayerNorm",
    "query": "bert.encoder.layer.{}.attention.self.query",
    "key": "bert.encoder.layer.{}.attention.self.key",
    "value": "bert.encoder.layer.{}.attention.self.value",
    "attention_output": "bert.encoder.layer.{}.attention.output.dense",
    "attention_norm": "bert.encoder.layer.{}.attention.output.LayerNorm",
    "intermediate": "bert.encoder.layer.{}.intermediate.dense",
    "output": "bert.encoder.layer.{}.output.dense",
    "feed_forward_norm": "bert.encoder.layer.{}.output.LayerNorm",
    "pooler": "bert.pooler.dense",
    "logits": "classifier",
    "token_logits": "classifier",
    "transform": "cls.predictions.transform.dense",
    "transform_norm": "cls.predictions.transform.LayerNorm",
    "vocabulary_bias": "cls.predictions.bias",
}
_BERT_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


def _renamed(table, old, new):
    """The table with another prefix of its tensors, in keys and values."""
    return {
        key.replace(old, new, 1) if key.startswith(old) else key: (
            value.replace(old, new, 1) if value.startswith(old) else value
        )
        for key, value in table.items()
    }


def _architectures(name):
    return {
        "BertBackbone": f"{name}Model",
        "BertClassifier": f"{name}ForSequenceClassification",
        "BertTokenClassifier": f"{name}ForTokenClassification",
        "BertMaskedLM": f"{name}ForMaskedLM",
    }


@dataclasses.dataclass(frozen=True)
class Family:
    """A `model_type` of config.json.

    Attributes:
        prefix: What the names of the encoder's tensors begin with in a model with a head; a folder
            without a head may leave it out.
        layers: For each layer of ours the tensor, or what the names of its tensors begin with.
        tied: Tensors that a folder may have beside those that they are tied to.
        architectures: For each class of ours that of transformers.
        keys: For each argument of `BertBackbone` the key in config.json.
        defaults: Arguments that config.json may leave out, or never has.
        pooler_activation: Of the dense layer over the first state in a backbone.
        classifier_pooler: The same in a classifier.
        classifier_pooler_dropout: Whether a classifier's dropout is also before that layer.
        masked_lm_activation: Before the vocabulary, where it is not the encoder's.
        classifier_dropout: The key of a classifier's dropout.
        share_blocks: Whether all layers are one block.
        required: Keys that must have this value, if they are there.
    """

    prefix: str
    layers: dict
    tied: dict
    architectures: dict
    keys: dict = dataclasses.field(default_factory=lambda: dict(_BERT_KEYS))
    defaults: dict = dataclasses.field(default_factory=lambda: dict(_DEFAULTS))
    pooler_activation: str | None = "tanh"
    classifier_pooler: str | None = "tanh"
    classifier_pooler_dropout: bool = False
    masked_lm_activation: str | None = None
    classifier_dropout: str = "classifier_dropout"
    share_blocks: bool = False
    required: dict = dataclasses.field(
        default_factory=lambda: {"is_decoder": False, "position_embedding_type": "absolute"}
    )


_ALBERT_LAYER = "albert.encoder.albert_layer_groups.0.albert_layers.0."
_ELECTRA_LAYERS = {
    key: value
    for key, value in _renamed(_BERT_LAYERS, "bert.", "electra.").items()
    if not value.startswith("cls.")
}
_DISTILBERT_BLOCK = "distilbert.transformer.layer.{}."

# BERT's are also those of RoBERTa-wwm and MacBERT, whose configs say model_type "bert".
FAMILIES = {
    "bert": Family(
        prefix="bert.",
        layers=_BERT_LAYERS,
        tied=_BERT_TIED,
        architectures=_architectures("Bert"),
    ),
    "ernie": Family(
        prefix="ernie.",
        layers=_renamed(_BERT_LAYERS, "bert.", "ernie."),
        tied=_renamed(_BERT_TIED, "bert.", "ernie."),
        architectures=_architectures("Ernie"),
    ),
    "electra": Family(
        prefix="electra.",
        layers=_ELECTRA_LAYERS
        | {
            "embedding_projection": "electra.embeddings_project",
            "pooler": "classifier.dense",
            "logits": "classifier.out_proj",
            "token_logits": "classifier",
            "transform": "generator_predictions.dense",
            "transform_norm": "generator_predictions.LayerNorm",
            "vocabulary_bias": "generator_lm_head.bias",
        },
        tied={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
        architectures=_architectures("Electra"),
        keys=_BERT_KEYS | {"embedding_dim": "embedding_size"},
        pooler_activation=None,
        classifier_pooler="gelu",
        classifier_pooler_dropout=True,
        masked_lm_activation="gelu",
    ),
    "albert": Family(
        prefix="albert.",
        layers={
            "token_embeddings": "albert.embeddings.word_embeddings.weight",
            "position_embeddings": "albert.embeddings.position_embeddings.weight",
            "segment_embeddings": "albert.embeddings.token_type_embeddings.weight",
            "embedding_norm": "albert.embeddings.LayerNorm",
            "embedding_projection": "albert.encoder.embedding_hidden_mapping_in",
            "query": _ALBERT_LAYER + "attention.query",
            "key": _ALBERT_LAYER + "attention.key",
            "value": _ALBERT_LAYER + "attention.value",
            "attention_output": _ALBERT_LAYER + "attention.dense",
            "attention_norm": _ALBERT_LAYER + "attention.LayerNorm",
            "intermediate": _ALBERT_LAYER + "ffn",
            "output": _ALBERT_LAYER + "ffn_output",
            "feed_forward_norm": _ALBERT_LAYER + "full_layer_layer_norm",
            "pooler": "albert.pooler",
            "logits": "classifier",
            "token_logits": "classifier",
            "transform": "predictions.dense",
            "transform_norm": "predictions.LayerNorm",
            "vocabulary_bias": "predictions.bias",
        },
        tied={
            "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
            "predictions.decoder.bias": "predictions.bias",
        },
        architectures=_architectures("Albert"),
        keys=_BERT_KEYS | {"embedding_dim": "embedding_size"},
        defaults=_DEFAULTS | {"activation": "gelu_new", "dropout": 0.0},
        classifier_dropout="classifier_dropout_prob",
        share_blocks=True,
        required={"num_hidden_groups": 1, "inner_group_num": 1},
    ),
    "distilbert": Family(
        prefix="distilbert.",
        layers={
            "token_embeddings": "distilbert.embeddings.word_embeddings.weight",
            "position_embeddings": "distilbert.embeddings.position_embeddings.weight",
            "embedding_norm": "distilbert.embeddings.LayerNorm",
            "query": _DISTILBERT_BLOCK + "attention.q_lin",
            "key": _DISTILBERT_BLOCK + "attention.k_lin",
            "value": _DISTILBERT_BLOCK + "attention.v_lin",
            "attention_output": _DISTILBERT_BLOCK + "attention.out_lin",
            "attention_norm": _DISTILBERT_BLOCK + "sa_layer_norm",
            "intermediate": _DISTILBERT_BLOCK + "ffn.lin1",
            "output": _DISTILBERT_BLOCK + "ffn.lin2",
            "feed_forward_norm": _DISTILBERT_BLOCK + "output_layer_norm",
            "pooler": "pre_classifier",
            "logits": "classifier",
            "token_logits": "classifier",
            "transform": "vocab_transform",
            "transform_norm": "vocab_layer_norm",
            "vocabulary_bias": "vocab_projector.bias",
        },
        tied={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
        architectures=_architectures("DistilBert"),
        keys={
            "vocabulary_size": "vocab_size",
            "num_layers": "n_layers",
            "num_heads": "n_heads",
            "hidden_dim": "dim",
            "feed_forward_dim": "hidden_dim",
            "max_length": "max_position_embeddings",
            "activation": "activation",
            "dropout": "dropout",
            "attention_dropout": "attention_dropout",
        },
        defaults=_DEFAULTS | {"num_segments": None},
        pooler_activation=None,
        classifier_pooler="relu",
        classifier_dropout="seq_classif_dropout",
    ),
}


def find_family(model_type):
    """The family of a `model_type`.

    Raises:
        ValueError: If there is none.
    """
    if model_type not in FAMILIES:
        raise ValueError(
            f"model_type is {model_type!r}, of which there is no reader; expected one of "
            f"{', '.join(FAMILIES)}."
        )
    return FAMILIES[model_type]
