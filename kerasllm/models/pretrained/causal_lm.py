"""CausalLM from and to Hugging Face folders."""

import contextlib
import json
import pathlib

import ml_dtypes
import numpy as np

from kerasllm.files import replace_file
from kerasllm.models.pretrained.causal_lm_families import (
    CAUSAL_LM_FAMILIES,
    find_causal_lm_family,
)
from kerasllm.models.pretrained.config_files import read_config
from kerasllm.models.pretrained.download import find_folder
from kerasllm.models.pretrained.tensor_files import SAFETENSORS_FILE, open_tensors

# Of weights in files.
_DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
_LISTED = 8  # names in a message
# Buffers that transformers once saved with the weights.
_BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
_NUMBERS = ("epsilon", "rotary_max_wavelength")


def load_causal_lm(model_class, folder, surplus="error", revision=None, **arguments):
    """What `CausalLM.from_pretrained` does."""
    if surplus not in ("error", "ignore"):
        raise ValueError(f"surplus is {surplus!r}; expected 'error' or 'ignore'.")
    folder = find_folder(folder, revision)
    config = read_config(folder)
    family = find_causal_lm_family(config["model_type"])
    options = causal_lm_arguments_of(config, folder / "config.json")
    tensors = open_tensors(folder)
    if not any(name.startswith(family.prefix) for name in tensors.shapes):
        tensors = tensors.renamed(
            lambda name: name if name.startswith("lm_head.") else family.prefix + name
        )
    model = model_class(**{**options, **arguments})
    _assign(model, family, tensors, surplus)
    return model


def save_causal_lm(model, folder, tokenizer=None, dtype="float32"):
    """What `CausalLM.save_pretrained` does."""
    if dtype not in _DTYPES:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(_DTYPES)}.")
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise ImportError(
            "Writing model.safetensors needs the safetensors package: "
            "pip install 'kerasllm[pretrained]'."
        ) from error
    config = make_causal_lm_config(model) | {"torch_dtype": dtype}
    if tokenizer is not None:
        if len(tokenizer) > model.vocabulary_size:
            raise ValueError(
                f"The tokenizer has {len(tokenizer)} tokens, the model {model.vocabulary_size}."
            )
        end_ids = list(tokenizer.end_ids)
        config["bos_token_id"] = (*tokenizer.start_ids, tokenizer.end_id)[0]
        config["eos_token_id"] = end_ids if len(end_ids) > 1 else end_ids[0]
    family = CAUSAL_LM_FAMILIES[config["model_type"]]
    weights = _weights(model)
    tensors = {}
    for name, parts in _named_parts(model, family).items():
        pieces = [
            np.split(np.asarray(weights[part.weight]), part.place[1], axis=-1)[part.place[0]]
            for part in parts
        ]
        tensor = np.concatenate(pieces, axis=-1).astype("float32").astype(_DTYPES[dtype])
        tensors[name] = np.ascontiguousarray(
            tensor.T if _is_transposed(family, parts[0]) else tensor
        )
    folder = pathlib.Path(folder)
    # The weights last: what config.json says of them is there by then.
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(replace_file(folder / SAFETENSORS_FILE))
        save_file(tensors, path, metadata={"format": "pt"})
        path = stack.enter_context(replace_file(folder / "config.json"))
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save(folder)


# === Configs ===


def causal_lm_arguments_of(config, source="config.json"):
    """The arguments of `CausalLM` that a config asks for.

    Args:
        config: A dict as `read_config` gives it.
        source: What messages name.

    Raises:
        ValueError: If a key is missing or has a value that our model does not know.
    """
    family = find_causal_lm_family(config["model_type"])
    for key, expected in family.required.items():
        if config.get(key) is not None and config[key] != expected:
            raise ValueError(f"{source}: {key} is {config[key]!r}; only {expected!r} can be read.")
    arguments = dict(family.arguments)
    for argument, key in family.keys.items():
        if config.get(key) is not None:
            arguments[argument] = config[key]
        elif argument not in family.optional:
            raise ValueError(f"{source} lacks {key}.")
    if arguments["positions"] == "rotary":
        arguments["rotary_max_wavelength"] = _rotary_wavelength(config, source)
    for argument, key in family.keys.items():
        value = arguments.get(argument)
        fits = argument in _NUMBERS or argument == "tie_embeddings" or value is None
        if not fits and (type(value) is not int or value < 1):
            raise ValueError(f"{source}: {key} is {value!r}; expected a positive integer.")
    return arguments


def _rotary_wavelength(config, source):
    # transformers 5 has rope_parameters, those before it rope_theta and rope_scaling, which goes
    # first there too where a config has both.
    parameters = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind != "default":
        raise ValueError(
            f"{source}: rotary positions are scaled ({kind!r}); only unscaled ones can be read."
        )
    return float(parameters.get("rope_theta") or config.get("rope_theta") or 10_000.0)


def make_causal_lm_config(model):
    """The config.json of a `CausalLM`, a dict.

    Raises:
        ValueError: If no family of transformers has models of its form.
    """
    config = model.get_config()
    bias = config["query_key_value_bias"]
    config["query_key_value_bias"] = config["use_bias"] if bias is None else bias
    for model_type, family in CAUSAL_LM_FAMILIES.items():
        form = family.arguments | {"query_key_value_bias": _has_query_bias(family)}
        free = ("tie_embeddings", "epsilon")
        if any(config[key] != value for key, value in form.items() if key not in free):
            continue
        if "num_key_value_heads" not in family.keys and (
            config["num_key_value_heads"] != config["num_heads"]
            or config["head_dim"] * config["num_heads"] != config["hidden_dim"]
        ):
            continue
        result = {"architectures": [family.architecture], "model_type": model_type}
        result |= {key: config[argument] for argument, key in family.keys.items()}
        result |= family.required
        if config["positions"] == "rotary":
            theta = config["rotary_max_wavelength"]
            result["rope_theta"] = theta
            result["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
        return result | {"torch_dtype": "float32"}
    raise ValueError(
        "No model of transformers has this form; the forms that can be saved are "
        f"{', '.join(CAUSAL_LM_FAMILIES)}."
    )


def _has_query_bias(family):
    arguments = family.arguments
    return arguments.get("query_key_value_bias", arguments["use_bias"])


# === Weights ===


def _weights(model):
    """The model's weights by the names that `TensorPart` has; those of blocks end in `.0` etc."""
    weights = {"token_embeddings": model.token_embedding.embeddings}
    if model.position_embedding is not None:
        weights["position_embeddings"] = model.position_embedding.embeddings

    def add(name, layer, end=""):
        if hasattr(layer, "kernel"):
            weights[f"{name}_kernel{end}"] = layer.kernel
            if layer.bias is not None:
                weights[f"{name}_bias{end}"] = layer.bias
        else:
            weights[f"{name}_gamma{end}"] = layer.gamma if hasattr(layer, "gamma") else layer.scale
            if getattr(layer, "beta", None) is not None:
                weights[f"{name}_beta{end}"] = layer.beta

    for index, block in enumerate(model.blocks):
        attention = block.attention
        for name, layer in (
            ("query", attention.query_dense),
            ("key", attention.key_dense),
            ("value", attention.value_dense),
            ("attention_output", attention.output_dense),
            ("query_norm", attention.query_norm),
            ("key_norm", attention.key_norm),
            ("attention_norm", block.attention_norm),
            ("feed_forward_norm", block.feed_forward_norm),
            ("intermediate", block.intermediate_dense),
            ("output", block.output_dense),
        ):
            if layer is not None:
                add(name, layer, f".{index}")
    add("final_norm", model.final_norm)
    if not model.tie_embeddings:
        weights["head_kernel"] = model.head.kernel
    return weights


def _named_parts(model, family):
    """A dict of every tensor's name to its parts, with the names that `_weights` has."""
    named = {}
    for name, parts in family.tensors.items():
        if name == "lm_head.weight" and model.tie_embeddings:
            continue
        if "{}" not in name:
            named[name] = parts
            continue
        for index in range(model.num_layers):
            named[name.format(index)] = [
                type(part)(f"{part.weight}.{index}", part.part, part.place) for part in parts
            ]
    return named


def _is_transposed(family, part):
    # The head's kernel lies as theirs does, class by class.
    return family.transposed and "_kernel" in part.weight and part.weight != "head_kernel"


def _expected_shape(family, parts, weights):
    part = parts[0]
    shape = list(weights[part.weight].shape)
    shape[-1] = shape[-1] // part.place[1] * part.part[1]
    return tuple(shape[::-1] if _is_transposed(family, part) else shape)


def _assign(model, family, tensors, surplus):
    """Gives the model the tensors, after all of them have been looked at."""
    named, weights = _named_parts(model, family), _weights(model)
    absent = [name for name in named if name not in tensors.shapes]
    if absent:
        raise ValueError(f"{tensors.source} lacks {len(absent)} tensors: {_listed(absent)}.")
    left = [name for name in tensors.shapes if name not in named and not name.endswith(_BUFFERS)]
    if "lm_head.weight" in left and model.tie_embeddings:
        left.remove("lm_head.weight")
        source = next(
            name for name, parts in named.items() if parts[0].weight == "token_embeddings"
        )
        if not np.array_equal(tensors["lm_head.weight"], tensors[source]):
            raise ValueError(
                f"{tensors.source}: lm_head.weight is not {source}, to which its config ties it."
            )
    if left and surplus == "error":
        raise ValueError(
            f"{tensors.source} has {len(left)} tensors that a CausalLM of its config has not: "
            f"{_listed(left)}; surplus='ignore' leaves them out."
        )
    wrong = [
        f"{name} is {tensors.shapes[name]}, expected {_expected_shape(family, parts, weights)}"
        for name, parts in named.items()
        if tensors.shapes[name] != _expected_shape(family, parts, weights)
    ]
    if wrong:
        raise ValueError(
            f"{tensors.source} and its config do not belong together: {_listed(wrong, '; ')}."
        )
    pieces = {}
    for name, parts in named.items():
        tensor = tensors[name]
        tensor = tensor.T if _is_transposed(family, parts[0]) else tensor
        for part in parts:
            piece = np.split(tensor, part.part[1], axis=-1)[part.part[0]]
            found = pieces.setdefault(part.weight, [None] * part.place[1])
            found[part.place[0]] = piece
            if all(piece is not None for piece in found):
                weights[part.weight].assign(np.concatenate(pieces.pop(part.weight), axis=-1))


def _listed(names, separator=", "):
    more = len(names) - _LISTED
    return separator.join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
