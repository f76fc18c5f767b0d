"""Every family of pretrained encoders against transformers, on random weights."""

import keras
import numpy as np
import pretrained_folders as folders
import pytest
import torch
from safetensors.numpy import load_file

from kerasllm import models
from kerasllm.models.pretrained.families import find_family
from kerasllm.models.pretrained.named_weights import named_weights

CASES = [
    (family, task)
    for family in folders.FAMILIES
    for task in folders.TASKS
    if family in ("bert", "albert", "electra", "distilbert") or task == "BertClassifier"
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A function of family and task: their model, its folder, and ours of that folder."""
    made = {}

    def pair(family, task):
        if (family, task) not in made:
            theirs = folders.make_theirs(family, task)
            folder = folders.save_theirs(theirs, tmp_path_factory.mktemp(f"{family}_{task}"))
            made[family, task] = theirs, folder, load_ours(task, folder)
        return made[family, task]

    return pair


def load_ours(task, folder, **options):
    # ELECTRA and DistilBERT have no pooler; of the rest, transformers' backbone has one.
    return getattr(models, task).from_pretrained(folder, **options)


def outputs_of(ours, theirs, family):
    """Pairs of ours and theirs, at the places that are no padding."""
    inputs = folders.make_inputs()
    mask = inputs["padding_mask"]
    with torch.no_grad():
        expected = theirs(**folders.as_theirs(inputs, family))
    found = ours(inputs)
    if isinstance(found, dict):
        yield found["sequence_output"], expected.last_hidden_state, mask
        if getattr(expected, "pooler_output", None) is not None:
            yield found["pooled_output"], expected.pooler_output, slice(None)
    elif len(found.shape) == 3:
        yield found, expected.logits, mask
    else:
        yield found, expected.logits, slice(None)


@pytest.mark.parametrize(("family", "task"), CASES)
def test_results_are_those_of_transformers(pairs, family, task):
    theirs, _, ours = pairs(family, task)
    for found, expected, places in outputs_of(ours, theirs, family):
        found, expected = np.array(found)[places], expected.numpy()[places]
        assert expected.std() > 0.1
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("family", "task"), [case for case in CASES if case[1] in ("BertBackbone", "BertClassifier")]
)
def test_results_in_bfloat16_are_near(pairs, family, task):
    theirs, folder, _ = pairs(family, task)
    ours = load_ours(task, folder, dtype="mixed_bfloat16")
    for found, expected, places in outputs_of(ours, theirs, family):
        found = np.array(keras.ops.cast(found, "float32"))[places]
        expected = expected.numpy()[places]
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error < 2e-2


@pytest.mark.parametrize("family", list(folders.FAMILIES))
def test_gradients_are_those_of_transformers(pairs, family):
    import tensorflow as tf

    theirs, _, ours = pairs(family, "BertClassifier")
    inputs = folders.make_inputs()
    labels = np.array([0, 2, 1, 1])
    theirs.zero_grad()
    logits = theirs(**folders.as_theirs(inputs, family)).logits
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}

    weights = named_weights(ours, find_family(ours.backbone.model_type))
    variables = [weight.variable.value for weight in weights.values()]
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, ours(inputs))
        loss = tf.reduce_mean(losses)
    for (name, weight), gradient in zip(
        weights.items(), tape.gradient(loss, variables), strict=True
    ):
        gradient = gradient.numpy().T if weight.transposed else gradient.numpy()
        reference = expected[name].numpy()
        scale = max(1.0, np.abs(reference).max())
        np.testing.assert_allclose(gradient, reference, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize(("family", "task"), CASES)
def test_a_round_trip_of_the_folder_changes_no_bit(pairs, family, task, tmp_path):
    theirs, folder, ours = pairs(family, task)
    ours.save_pretrained(tmp_path, tokenizer=models.load_tokenizer(folder))
    before, after = (load_file(each / "model.safetensors") for each in (folder, tmp_path))
    if family == "ernie_tasks":  # its table of tasks went into that of segments
        del before["ernie.embeddings.task_type_embeddings.weight"]
        name = "ernie.embeddings.token_type_embeddings.weight"
        before[name] = after[name]
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        np.testing.assert_array_equal(tensor, after[name])
    assert (tmp_path / "vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()
    again, problems = folders.load_theirs(type(theirs), tmp_path)
    assert not problems
    for found, expected, places in outputs_of(ours, again, family):
        np.testing.assert_allclose(
            np.array(found)[places], expected.numpy()[places], atol=1e-5, rtol=1e-5
        )


def test_a_tokenizer_goes_to_transformers_and_back(pairs, tmp_path):
    from transformers import AutoTokenizer

    _, folder, ours = pairs("bert", "BertClassifier")
    tokenizer = models.load_tokenizer(folder)
    ours.save_pretrained(tmp_path, tokenizer)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["我在中国", "这人是 w3，你来了"]
    assert [list(row) for row in theirs(texts, padding=True)["input_ids"]] == tokenizer.encode(
        texts
    )["token_ids"].tolist()
    theirs.save_pretrained(tmp_path / "again")
    (tmp_path / "again" / "vocab.txt").unlink(missing_ok=True)
    again = models.load_tokenizer(tmp_path / "again")  # from tokenizer.json
    assert again.get_config() == tokenizer.get_config()


def test_labels_are_written_and_read(pairs, tmp_path):
    from kerasllm.models.pretrained import labels_of, read_config

    _, _, ours = pairs("bert", "BertClassifier")
    ours.save_pretrained(tmp_path, labels=["好", "中", "差"])
    assert labels_of(read_config(tmp_path)) == ["好", "中", "差"]
    with pytest.raises(ValueError, match="There are 2 labels for 3 classes"):
        ours.save_pretrained(tmp_path, labels=["好", "差"])


@pytest.mark.parametrize("family", ["bert", "electra", "distilbert", "albert"])
def test_a_classifiers_dropout_spreads_as_that_of_transformers(family, tmp_path):
    """The standard deviation of each logit over many dropouts of one text.

    ELECTRA's classifier drops twice: before its dense layer, which was missing once, and behind it.
    """
    theirs = folders.make_theirs(family, "BertClassifier")
    config = theirs.config.to_dict()
    rate = find_family(config["model_type"]).classifier_dropout
    options = {name: 0.0 for name in config if "dropout" in name and name != rate} | {rate: 0.4}
    weights = theirs.state_dict()
    theirs = type(theirs)(type(theirs.config)(**config | options))
    theirs.load_state_dict(weights)
    folder = folders.save_theirs(theirs, tmp_path)
    ours = load_ours("BertClassifier", folder)
    inputs = {
        name: np.repeat(value[:1], 4000, axis=0) for name, value in folders.make_inputs().items()
    }
    torch.manual_seed(0)
    theirs.train()
    with torch.no_grad():
        expected = theirs(**folders.as_theirs(inputs, family)).logits.numpy()
    keras.utils.set_random_seed(0)
    found = np.array(ours(inputs, training=True))
    assert expected.std(axis=0).min() > 0.01
    np.testing.assert_allclose(found.std(axis=0), expected.std(axis=0), rtol=0.08)
    dropouts = [layer.rate for layer in ours._flatten_layers() if layer.name == "pooler_dropout"]
    assert dropouts == ([0.4] if family == "electra" else [])
