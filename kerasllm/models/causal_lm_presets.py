"""Forms and sizes of decoder-only language models, as data."""

# What a form of transformer is made of: arguments of CausalLM.
FORMS = {
    "gpt2": {  # Radford et al., Language Models are Unsupervised Multitask Learners, 2019
        "positions": "learned",
        "normalization": "layer",
        "activation": "gelu_tanh",
        "use_bias": True,
        "tie_embeddings": True,
        "epsilon": 1e-5,
    },
    "modern": {  # Touvron et al., Llama 2, 2023; Yang et al., Qwen3 Technical Report, 2025
        "positions": "rotary",
        "rotary_max_wavelength": 10_000.0,
        "normalization": "rms",
        "activation": "swiglu",
        "use_bias": False,
        "query_key_norm": True,
        "tie_embeddings": True,
        "epsilon": 1e-6,
    },
}

# Sizes by name; a form adds what it does differently.
SIZES = {
    "nano": {"hidden_dim": 128, "num_layers": 2, "num_heads": 2, "max_length": 256},
    "micro": {"hidden_dim": 256, "num_layers": 4, "num_heads": 4, "max_length": 256},
    "mini": {"hidden_dim": 384, "num_layers": 6, "num_heads": 6, "max_length": 512},
    "small": {"hidden_dim": 512, "num_layers": 8, "num_heads": 8, "max_length": 1024},
    "base": {"hidden_dim": 768, "num_layers": 12, "num_heads": 12, "max_length": 1024},
    "medium": {"hidden_dim": 1024, "num_layers": 24, "num_heads": 16, "max_length": 1024},
    "large": {"hidden_dim": 1280, "num_layers": 36, "num_heads": 20, "max_length": 1024},
}

# Published shapes, vocabulary and all.
SHAPES = {
    "gpt2_124m": {"form": "gpt2", "size": "base", "vocabulary_size": 50257},
    "gpt2_355m": {"form": "gpt2", "size": "medium", "vocabulary_size": 50257},
    "gpt2_774m": {"form": "gpt2", "size": "large", "vocabulary_size": 50257},
    "qwen2_0.5b": {
        "form": "modern",
        "vocabulary_size": 151936,
        "hidden_dim": 896,
        "num_layers": 24,
        "num_heads": 14,
        "num_key_value_heads": 2,
        "feed_forward_dim": 4864,
        "max_length": 32768,
        "rotary_max_wavelength": 1_000_000.0,
        "query_key_value_bias": True,
        "query_key_norm": False,
    },
    "qwen3_0.6b": {
        "form": "modern",
        "vocabulary_size": 151936,
        "hidden_dim": 1024,
        "num_layers": 28,
        "num_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "feed_forward_dim": 3072,
        "max_length": 40960,
        "rotary_max_wavelength": 1_000_000.0,
    },
}


def causal_lm_arguments(form, size=None, **arguments):
    """Arguments of `CausalLM` for a form and a size.

    Examples:

    >>> arguments = causal_lm_arguments("modern", "micro", vocabulary_size=6000, dropout=0.1)
    >>> model = kerasllm.models.CausalLM(**arguments)

    Args:
        form: `"gpt2"` or `"modern"`, a key of `FORMS`; or a published shape, a key of `SHAPES`,
            such as `"qwen3_0.6b"`, without a size.
        size: A key of `SIZES`, or None to give all sizes by hand.
        **arguments: Go before what form and size say.

    Returns:
        A dict of argument to value.

    Raises:
        ValueError: If there is no such form or size.
    """
    found = {}
    if form in SHAPES:
        found = dict(SHAPES[form])
        form, size = found.pop("form"), found.pop("size", None)
    if form not in FORMS:
        known = ", ".join([*FORMS, *SHAPES])
        raise ValueError(f"There is no form {form!r}; expected one of {known}.")
    if size is not None and size not in SIZES:
        raise ValueError(f"There is no size {size!r}; expected one of {', '.join(SIZES)}.")
    return {**FORMS[form], **SIZES.get(size, {}), **found, **arguments}
