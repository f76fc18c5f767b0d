"""From a folder of pretrained weights to a model."""

import numpy as np

from kerasllm.models.pretrained.config_files import (
    backbone_arguments,
    labels_of,
    read_config,
)
from kerasllm.models.pretrained.download import find_folder
from kerasllm.models.pretrained.families import find_family
from kerasllm.models.pretrained.named_weights import named_weights
from kerasllm.models.pretrained.tensor_files import open_tensors
from kerasllm.models.pretrained.tokenizer_files import check_vocabulary

_LISTED = 8  # names in a message


def load_pretrained(
    model_class,
    folder,
    num_classes=None,
    missing="error",
    surplus="error",
    allow_unused_rows=False,
    revision=None,
    **arguments,
):
    """What `BertModel.from_pretrained` does."""
    from kerasllm.models.bert_backbone import BertBackbone

    for name, value, choices in (
        ("missing", missing, ("error", "new")),
        ("surplus", surplus, ("error", "ignore")),
    ):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; expected {' or '.join(map(repr, choices))}.")
    folder = find_folder(folder, revision)
    config = read_config(folder)
    family = find_family(config["model_type"])
    options = backbone_arguments(config, folder / "config.json")
    kind = model_class.__name__
    if kind == "BertClassifier":
        options["pooler_activation"] = family.classifier_pooler
    elif kind != "BertBackbone":
        options["pooler_activation"] = None
    tensors = _with_prefix(open_tensors(folder), family)
    check_vocabulary(folder, options["vocabulary_size"], allow_unused_rows)

    head = {}
    if kind in ("BertClassifier", "BertTokenClassifier"):
        head["num_classes"] = num_classes or _num_classes(config, folder)
        if config.get(family.classifier_dropout) is not None:
            head["dropout"] = config[family.classifier_dropout]
        if kind == "BertClassifier":
            head["dropout_samples"] = arguments.pop("dropout_samples", 1)
    elif num_classes is not None:
        raise ValueError(f"num_classes is {num_classes}, but a {kind} has no classes.")
    options |= arguments
    if kind == "BertClassifier" and family.classifier_pooler_dropout:
        options.setdefault("pooler_dropout", head.get("dropout", options["dropout"]))
    backbone = BertBackbone(**options)
    if kind == "BertMaskedLM":
        head["activation"] = family.masked_lm_activation
    model = backbone if kind == "BertBackbone" else model_class(backbone, **head)
    _assign(model, family, config, tensors, missing, surplus, cut="num_layers" in arguments)
    return model


def _num_classes(config, folder):
    labels = labels_of(config)
    count = len(labels) if labels else config.get("num_labels")
    if not count:
        raise ValueError(
            f"{folder}: its config names no classes, so it is no fine-tuned classifier. Give "
            "num_classes, and missing='new' for a classifier with new weights."
        )
    return count


def _with_prefix(tensors, family):
    """The tensors with the family's prefix, which an encoder that was saved alone lacks."""
    prefix = family.prefix
    if any(name.startswith(prefix) for name in tensors.shapes):
        return tensors
    inside = {name.split(".")[0] for name in ("embeddings.", "encoder.", "transformer.", "pooler.")}
    inside.add("embeddings_project")
    return tensors.renamed(lambda name: prefix + name if name.split(".")[0] in inside else name)


def _assign(model, family, config, tensors, missing, surplus, cut):
    """Gives the model the tensors, after all of them have been looked at. `cut` says that the
    caller chose the number of layers."""
    weights = named_weights(model, family)
    extra = _task_embeddings(config, family, tensors)
    known = {*weights, *family.tied, *extra}
    _refuse_missing(weights, tensors, missing)
    left = [name for name in tensors.shapes if name not in known]
    _refuse_surplus(left, model, family, tensors, surplus, cut)
    _refuse_other_shapes(weights, tensors)
    _refuse_untied(weights, family, tensors)
    for name, weight in weights.items():
        if name in tensors.shapes:
            value = tensors[name]
            if name in extra.values():
                value = value + tensors[next(iter(extra))][0]
            weight.variable.assign(value.T if weight.transposed else value)


def _refuse_missing(weights, tensors, missing):
    absent = [name for name in weights if name not in tensors.shapes]
    never_new = [name for name in absent if not weights[name].head]
    if absent and (missing == "error" or never_new):
        names = absent if missing == "error" else never_new
        mend = "" if never_new else "; missing='new' makes new ones"
        raise ValueError(f"{tensors.source} lacks {len(names)} tensors: {_listed(names)}{mend}.")


def _refuse_surplus(left, model, family, tensors, surplus, cut):
    # An encoder with more than its config says is another encoder, unless the caller cut it.
    never_ignored = [] if cut else [name for name in left if _of_encoder(name, family)]
    if left and (surplus == "error" or never_ignored):
        names = left if surplus == "error" else never_ignored
        mend = "" if never_ignored else "; surplus='ignore' leaves them out"
        raise ValueError(
            f"{tensors.source} has {len(names)} tensors that a {type(model).__name__} of this "
            f"config has not: {_listed(names)}{mend}."
        )


def _refuse_other_shapes(weights, tensors):
    wrong = [
        f"{name} is {tensors.shapes[name]}, expected {weight.shape}"
        for name, weight in weights.items()
        if name in tensors.shapes and tensors.shapes[name] != weight.shape
    ]
    if wrong:
        raise ValueError(
            f"{tensors.source} and its config do not belong together: {_listed(wrong, '; ')}."
        )


def _refuse_untied(weights, family, tensors):
    for name, source in family.tied.items():
        both = {name, source} <= tensors.shapes.keys() and source in weights
        if both and not np.array_equal(tensors[name], tensors[source]):
            raise ValueError(
                f"{tensors.source}: {name} is not tied to {source}, as it is in our models."
            )


def _of_encoder(name, family):
    pooler = family.layers["pooler"].split(".")[:2]
    return name.startswith(family.prefix) and name.split(".")[:2] != pooler


def _task_embeddings(config, family, tensors):
    """A dict of ERNIE's table of tasks to that of segments, to which the first task is added."""
    name = f"{family.prefix}embeddings.task_type_embeddings.weight"
    if not config.get("use_task_id") or name not in tensors.shapes:
        return {}
    return {name: family.layers["segment_embeddings"]}


def _listed(names, separator=", "):
    more = len(names) - _LISTED
    return separator.join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
