"""Small models of transformers with random weights, and their folders."""

import contextlib
import os
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers

# Models this small gain nothing from threads, which wait for each other on a busy processor.
torch.set_num_threads(1)

VOCABULARY_SIZE, NUM_CLASSES, MAX_LENGTH = 40, 3, 24
TOKENS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"的一是不了人我在有他这中大来上国个到说们为子和你地",
]
TOKENS += [f"w{number}" for number in range(VOCABULARY_SIZE - len(TOKENS))]

_BERT = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": MAX_LENGTH,
    "num_labels": NUM_CLASSES,
}
_DISTILBERT = {
    "vocab_size": VOCABULARY_SIZE,
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 24,
    "max_position_embeddings": MAX_LENGTH,
    "num_labels": NUM_CLASSES,
}
# name: (class prefix in transformers, options of its config)
FAMILIES = {
    "bert": ("Bert", _BERT),
    "bert_tanh": ("Bert", _BERT | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5}),
    "albert": ("Albert", _BERT | {"embedding_size": 6}),
    "electra": ("Electra", _BERT | {"embedding_size": 6}),
    "electra_base": ("Electra", _BERT | {"embedding_size": 16}),
    "distilbert": ("DistilBert", _DISTILBERT),
    "ernie": ("Ernie", _BERT),
    "ernie_tasks": ("Ernie", _BERT | {"use_task_id": True}),
}
TASKS = {
    "BertBackbone": "Model",
    "BertClassifier": "ForSequenceClassification",
    "BertTokenClassifier": "ForTokenClassification",
    "BertMaskedLM": "ForMaskedLM",
}


def make_theirs(family, task, seed=0):
    """A model of transformers in which every weight is random, that no two can be mixed up."""
    prefix, options = FAMILIES[family]
    config = getattr(transformers, f"{prefix}Config")(**options)
    torch.manual_seed(seed)
    model = getattr(transformers, f"{prefix}{TASKS[task]}")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.tie_weights()
    return model


def save_theirs(model, folder):
    with quiet():
        model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in TOKENS), encoding="utf-8")
    return folder


def load_theirs(model_class, folder):
    """The model, and whatever was missing or left over."""
    with quiet():
        model, found = model_class.from_pretrained(folder, output_loading_info=True)
    problems = {name: list(found[name]) for name in found if found[name]}
    return model.eval(), problems


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        yield


def make_inputs(count=4, time=11):
    """Ours, with padding of every length."""
    random = np.random.default_rng(3)
    token_ids = random.integers(5, VOCABULARY_SIZE, (count, time)).astype("int32")
    lengths = np.array([time, 1, 4, 7])[:count]
    mask = np.arange(time) < lengths[:, None]
    token_ids[~mask] = 0
    segment_ids = (np.arange(time) >= lengths[:, None] // 2).astype("int32") * mask
    return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": mask}


def as_theirs(inputs, family):
    names = {"token_ids": "input_ids", "segment_ids": "token_type_ids"}
    names["padding_mask"] = "attention_mask"
    if family == "distilbert":
        del names["segment_ids"]
    return {
        theirs: torch.from_numpy(inputs[ours].astype("int64")) for ours, theirs in names.items()
    }
