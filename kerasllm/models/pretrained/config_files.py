"""config.json: from its keys to the arguments of our models, and back."""

import pathlib

import keras

from kerasllm.files import read_json_object
from kerasllm.models.pretrained.families import find_family
from kerasllm.ops.gelu import gelu_tanh

CONFIG_FILES = ("config.json", "bert_config.json")
# Names in config.json; the first of an activation is the one that is written.
ACTIVATIONS = {
    "gelu": keras.activations.gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "relu": keras.activations.relu,
    "silu": keras.activations.silu,
    "swish": keras.activations.silu,
}


def read_config(folder):
    """The config of a folder, a dict with `model_type`.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is broken.
    """
    paths = [pathlib.Path(folder) / name for name in CONFIG_FILES]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{folder} holds no pretrained model: config.json is missing.")
    config = read_json_object(path)
    if path.name == "config.json" and "model_type" not in config:
        # The first configs of transformers had none.
        if not any(name.startswith("Bert") for name in config.get("architectures") or ["Bert"]):
            raise ValueError(f"{path} lacks model_type.")
    return {"model_type": "bert"} | config


def backbone_arguments(config, source="config.json"):
    """The arguments of `BertBackbone` that a config asks for.

    Args:
        config: A dict as `read_config` gives it.
        source: What messages name.

    Raises:
        ValueError: If a key is missing or has a value that our models do not know.
    """
    family = find_family(config["model_type"])
    for key, expected in family.required.items():
        if config.get(key, expected) != expected:
            raise ValueError(f"{source}: {key} is {config[key]!r}; only {expected!r} can be read.")
    arguments = {}
    for argument, key in family.keys.items():
        if config.get(key) is not None:
            arguments[argument] = config[key]
        elif argument in family.defaults:
            arguments[argument] = family.defaults[argument]
        elif argument not in ("attention_dropout", "embedding_dim"):
            raise ValueError(f"{source} lacks {key}.")
    arguments = family.defaults | arguments
    for argument, value in arguments.items():
        integer = argument not in ("activation", "dropout", "attention_dropout", "epsilon")
        if integer and value is not None and (type(value) is not int or value < 1):
            raise ValueError(
                f"{source}: {family.keys[argument]} is {value!r}; expected a positive integer."
            )
    if arguments["activation"] not in ACTIVATIONS:
        raise ValueError(
            f"{source}: the activation is {arguments['activation']!r}; expected one of "
            f"{', '.join(ACTIVATIONS)}."
        )
    arguments["activation"] = ACTIVATIONS[arguments["activation"]]
    arguments["num_segments"] = arguments["num_segments"] or None
    return arguments | {
        "share_blocks": family.share_blocks,
        "pooler_activation": family.pooler_activation,
        "model_type": config["model_type"],
    }


def labels_of(config):
    """The names of the classes that a config lists, in their order; None if it lists none."""
    names = config.get("id2label")
    if not isinstance(names, dict) or not names:
        return None
    try:
        ordered = {int(key): str(name) for key, name in names.items()}
    except ValueError:
        return None
    return [ordered[key] for key in sorted(ordered)]


def make_config(model, labels=None):
    """The config.json of a model, a dict.

    Args:
        model: A `BertBackbone` or a model with one.
        labels: The names of a classifier's classes; `LABEL_0` and so on by default, as in
            transformers.
    """
    backbone = getattr(model, "backbone", model)
    family = find_family(backbone.model_type)
    config = {
        "architectures": [family.architectures[type(model).__name__]],
        "model_type": backbone.model_type,
    }
    for argument, key in family.keys.items():
        config[key] = getattr(backbone, argument)
    config[family.keys["activation"]] = activation_name(backbone.activation)
    for argument, expected in (
        ("num_segments", family.defaults["num_segments"]),
        ("epsilon", family.defaults["epsilon"]),
        ("embedding_dim", backbone.hidden_dim),
    ):
        found = getattr(backbone, argument)
        if argument not in family.keys and found != expected:
            raise ValueError(
                f"{argument} is {found!r}, but model_type {backbone.model_type!r} has "
                f"{expected!r}; give the backbone another model_type."
            )
    if backbone.share_blocks != family.share_blocks:
        raise ValueError(
            f"share_blocks is {backbone.share_blocks}, but model_type {backbone.model_type!r} has "
            f"{family.share_blocks}; give the backbone another model_type."
        )
    if hasattr(model, "num_classes"):
        names = labels or [f"LABEL_{index}" for index in range(model.num_classes)]
        if len(names) != model.num_classes:
            raise ValueError(f"There are {len(names)} labels for {model.num_classes} classes.")
        config["id2label"] = {str(index): name for index, name in enumerate(names)}
        config["label2id"] = {name: index for index, name in enumerate(names)}
        config[family.classifier_dropout] = model.dropout
    return config | {key: value for key, value in family.required.items() if key not in config}


def activation_name(function):
    """The name in config.json of an activation."""
    for name, known in ACTIVATIONS.items():
        if function is known:
            return name
    raise ValueError(f"The activation {function} has no name in transformers.")
