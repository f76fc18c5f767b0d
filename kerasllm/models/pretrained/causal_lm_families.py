"""The families of pretrained decoders, as data: how their configs and tensors are named."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TensorPart:
    """What of a tensor belongs to which weight.

    Some folders have in one tensor what is several weights here, or the other way round; parts are
    of equal size, side by side along the last axis of our weight.

    Attributes:
        weight: Name of the weight: `"query_kernel"`, or `"token_embeddings"` outside of blocks.
        part: Which part of the tensor it is, and of how many.
        place: Which part of the weight it is, and of how many.
    """

    weight: str
    part: tuple = (0, 1)
    place: tuple = (0, 1)


@dataclasses.dataclass(frozen=True)
class CausalLMFamily:
    """A `model_type` of config.json.

    Attributes:
        architecture: The class of transformers.
        keys: For each argument of `CausalLM` the key in config.json.
        optional: Arguments that a config may leave out.
        arguments: Arguments that all models of the family have.
        required: Keys that must have this value, if they are there.
        tensors: For each tensor its parts; `{}` stands for the number of a block.
        transposed: Whether the tensors of dense kernels are the transpose of ours.
        prefix: What most names begin with, and what a model that was saved without its head leaves
            out.
    """

    architecture: str
    keys: dict
    optional: tuple
    arguments: dict
    required: dict
    tensors: dict
    transposed: bool
    prefix: str


def _dense(name, weight, use_bias=True):
    parts = {f"{name}.weight": [TensorPart(f"{weight}_kernel")]}
    return parts | ({f"{name}.bias": [TensorPart(f"{weight}_bias")]} if use_bias else {})


def _norm(name, weight, use_bias):
    parts = {f"{name}.weight": [TensorPart(f"{weight}_gamma")]}
    return parts | ({f"{name}.bias": [TensorPart(f"{weight}_beta")]} if use_bias else {})


_GPT2_BLOCK = "transformer.h.{}."
_GPT2_TENSORS = {
    "transformer.wte.weight": [TensorPart("token_embeddings")],
    "transformer.wpe.weight": [TensorPart("position_embeddings")],
    **_norm(_GPT2_BLOCK + "ln_1", "attention_norm", use_bias=True),
    # Queries, keys and values side by side.
    **{
        f"{_GPT2_BLOCK}attn.c_attn.{kind}": [
            TensorPart(f"{weight}_{ours}", part=(index, 3))
            for index, weight in enumerate(("query", "key", "value"))
        ]
        for kind, ours in (("weight", "kernel"), ("bias", "bias"))
    },
    **_dense(_GPT2_BLOCK + "attn.c_proj", "attention_output"),
    **_norm(_GPT2_BLOCK + "ln_2", "feed_forward_norm", use_bias=True),
    **_dense(_GPT2_BLOCK + "mlp.c_fc", "intermediate"),
    **_dense(_GPT2_BLOCK + "mlp.c_proj", "output"),
    **_norm("transformer.ln_f", "final_norm", use_bias=True),
    "lm_head.weight": [TensorPart("head_kernel")],
}
_LLAMA_BLOCK = "model.layers.{}."


def _llama_tensors(query_key_value_bias=False, query_key_norm=False):
    tensors = {
        "model.embed_tokens.weight": [TensorPart("token_embeddings")],
        **_norm(_LLAMA_BLOCK + "input_layernorm", "attention_norm", use_bias=False),
    }
    for name, weight in (("q", "query"), ("k", "key"), ("v", "value")):
        tensors |= _dense(f"{_LLAMA_BLOCK}self_attn.{name}_proj", weight, query_key_value_bias)
    tensors |= _dense(_LLAMA_BLOCK + "self_attn.o_proj", "attention_output", use_bias=False)
    if query_key_norm:
        tensors |= _norm(_LLAMA_BLOCK + "self_attn.q_norm", "query_norm", use_bias=False)
        tensors |= _norm(_LLAMA_BLOCK + "self_attn.k_norm", "key_norm", use_bias=False)
    return {
        **tensors,
        **_norm(_LLAMA_BLOCK + "post_attention_layernorm", "feed_forward_norm", use_bias=False),
        _LLAMA_BLOCK + "mlp.gate_proj.weight": [TensorPart("intermediate_kernel", place=(0, 2))],
        _LLAMA_BLOCK + "mlp.up_proj.weight": [TensorPart("intermediate_kernel", place=(1, 2))],
        **_dense(_LLAMA_BLOCK + "mlp.down_proj", "output", use_bias=False),
        **_norm("model.norm", "final_norm", use_bias=False),
        "lm_head.weight": [TensorPart("head_kernel")],
    }


_LLAMA_KEYS = {
    "vocabulary_size": "vocab_size",
    "max_length": "max_position_embeddings",
    "hidden_dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "feed_forward_dim": "intermediate_size",
    "epsilon": "rms_norm_eps",
    "tie_embeddings": "tie_word_embeddings",
}
_LLAMA_OPTIONAL = ("num_key_value_heads", "head_dim", "tie_embeddings", "epsilon")


def _llama(architecture, query_key_value_bias=False, query_key_norm=False):
    return CausalLMFamily(
        architecture=architecture,
        keys=_LLAMA_KEYS,
        optional=_LLAMA_OPTIONAL,
        arguments={
            "positions": "rotary",
            "normalization": "rms",
            "activation": "swiglu",
            "use_bias": False,
            "query_key_value_bias": query_key_value_bias,
            "query_key_norm": query_key_norm,
            "tie_embeddings": False,
            "epsilon": 1e-6,
        },
        required={
            "hidden_act": "silu",
            "mlp_bias": False,
            "attention_bias": query_key_value_bias,
            "use_sliding_window": False,
            "pretraining_tp": 1,
            "partial_rotary_factor": 1.0,
        },
        tensors=_llama_tensors(query_key_value_bias, query_key_norm),
        transposed=True,
        prefix="model.",
    )


CAUSAL_LM_FAMILIES = {
    "gpt2": CausalLMFamily(
        architecture="GPT2LMHeadModel",
        keys={
            "vocabulary_size": "vocab_size",
            "max_length": "n_positions",
            "hidden_dim": "n_embd",
            "num_layers": "n_layer",
            "num_heads": "n_head",
            "feed_forward_dim": "n_inner",
            "epsilon": "layer_norm_epsilon",
            "tie_embeddings": "tie_word_embeddings",
        },
        optional=("feed_forward_dim", "tie_embeddings", "epsilon"),
        arguments={
            "positions": "learned",
            "normalization": "layer",
            "activation": "gelu_tanh",
            "use_bias": True,
            "query_key_norm": False,
            "tie_embeddings": True,
            "epsilon": 1e-5,
        },
        required={
            "activation_function": "gelu_new",
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        tensors=_GPT2_TENSORS,
        transposed=False,
        prefix="transformer.",
    ),
    "llama": _llama("LlamaForCausalLM"),
    "qwen2": _llama("Qwen2ForCausalLM", query_key_value_bias=True),
    "qwen3": _llama("Qwen3ForCausalLM", query_key_norm=True),
}


def find_causal_lm_family(model_type):
    """The family of a `model_type`.

    Raises:
        ValueError: If there is none.
    """
    if model_type not in CAUSAL_LM_FAMILIES:
        raise ValueError(
            f"The folder's model_type is {model_type!r}; CausalLM reads "
            f"{', '.join(CAUSAL_LM_FAMILIES)}."
        )
    return CAUSAL_LM_FAMILIES[model_type]
