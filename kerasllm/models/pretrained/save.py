"""From a model to a folder that transformers loads."""

import contextlib
import json
import pathlib

import numpy as np

from kerasllm.files import replace_file
from kerasllm.models.pretrained.config_files import make_config
from kerasllm.models.pretrained.families import find_family
from kerasllm.models.pretrained.named_weights import named_weights
from kerasllm.models.pretrained.tensor_files import SAFETENSORS_FILE
from kerasllm.models.pretrained.tokenizer_files import tokenizer_files


def save_pretrained(model, folder, tokenizer=None, labels=None):
    """What `BertModel.save_pretrained` does."""
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise ImportError(
            "Writing model.safetensors needs the safetensors package: "
            "pip install 'kerasllm[pretrained]'."
        ) from error
    backbone = getattr(model, "backbone", model)
    family = find_family(backbone.model_type)
    config = make_config(model, labels)
    tensors = {}
    for name, weight in named_weights(model, family).items():
        value = np.asarray(weight.variable)
        if model is backbone:  # as transformers names the tensors of an encoder alone
            name = name.removeprefix(family.prefix)
        tensors[name] = np.ascontiguousarray(value.T if weight.transposed else value)
    texts = {"config.json": _json(config)}
    if tokenizer is not None:
        if len(tokenizer) > backbone.vocabulary_size:
            raise ValueError(
                f"The tokenizer has {len(tokenizer)} tokens, the model {backbone.vocabulary_size}."
            )
        texts |= tokenizer_files(tokenizer, backbone.max_length)
    folder = pathlib.Path(folder)
    # All is written before anything is replaced.
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(replace_file(folder / SAFETENSORS_FILE))
        save_file(tensors, path, metadata={"format": "pt"})
        for name, text in texts.items():
            path = stack.enter_context(replace_file(folder / name))
            path.write_bytes(text.encode("utf-8"))


def _json(content):
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
