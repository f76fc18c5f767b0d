"""Shapes of published BERTs."""

_TINY = {"num_layers": 2, "num_heads": 2, "hidden_dim": 128}
_MINI = {"num_layers": 4, "num_heads": 4, "hidden_dim": 256}
_SMALL = {"num_layers": 4, "num_heads": 8, "hidden_dim": 512}
_MEDIUM = {"num_layers": 8, "num_heads": 8, "hidden_dim": 512}
_BASE = {"num_layers": 12, "num_heads": 12, "hidden_dim": 768}
_LARGE = {"num_layers": 24, "num_heads": 16, "hidden_dim": 1024}

# The vocabularies of BERT uncased and of all Chinese models below.
_ENGLISH = {"vocabulary_size": 30522}
_CHINESE = {"vocabulary_size": 21128}

# For each name the arguments of `BertBackbone`. The small ones: Turc, Chang, Lee and Toutanova,
# Well-Read Students Learn Better, 2019. RBT3 and RBTL3 are the lowest three layers of the RoBERTas
# of Cui et al., 2019.
BERT_PRESETS = {
    "tiny": _TINY | _ENGLISH,
    "mini": _MINI | _ENGLISH,
    "small": _SMALL | _ENGLISH,
    "medium": _MEDIUM | _ENGLISH,
    "base": _BASE | _ENGLISH,
    "large": _LARGE | _ENGLISH,
    "chinese_base": _BASE | _CHINESE,
    "chinese_roberta_wwm_ext": _BASE | _CHINESE,
    "chinese_roberta_wwm_ext_large": _LARGE | _CHINESE,
    "chinese_macbert_base": _BASE | _CHINESE,
    "chinese_macbert_large": _LARGE | _CHINESE,
    "chinese_rbt3": _BASE | _CHINESE | {"num_layers": 3},
    "chinese_rbtl3": _LARGE | _CHINESE | {"num_layers": 3},
}


def bert_preset(name):
    """The arguments of `BertBackbone` for a preset, a dict.

    Raises:
        ValueError: If there is no preset of this name.
    """
    if name not in BERT_PRESETS:
        raise ValueError(f"There is no BERT {name!r}; expected one of {', '.join(BERT_PRESETS)}.")
    return dict(BERT_PRESETS[name])
