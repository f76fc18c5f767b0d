"""Reading folders of weights in every form, and refusing what is damaged or harmful."""

import json
import os
import pickle
import shutil
import zipfile

import keras
import numpy as np
import pretrained_folders as folders
import pytest
import safetensors.torch
import torch
from safetensors.numpy import load_file, save_file

from kerasllm.models import BertBackbone, BertClassifier, BertMaskedLM, load_tokenizer
from kerasllm.models.pretrained.torch_files import read_torch_file


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A fine-tuned classifier's folder, and its tensors."""
    folder = tmp_path_factory.mktemp("original")
    folders.save_theirs(folders.make_theirs("bert", "BertClassifier"), folder)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "folder")


def logits_of(folder, **options):
    return np.array(BertClassifier.from_pretrained(folder, **options)(folders.make_inputs()))


def tensors_of(folder):
    return load_file(folder / "model.safetensors")


def change_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}), "utf-8")


def as_torch(folder, **options):
    """Puts a pytorch_model.bin in the place of model.safetensors."""
    tensors = {name: torch.from_numpy(value.copy()) for name, value in tensors_of(folder).items()}
    # Tensors that share memory, and one that is a view with other strides.
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    tensors[name] = tensors[name].T.contiguous().T
    torch.save(tensors, folder / "pytorch_model.bin", **options)
    (folder / "model.safetensors").unlink()


# === Every form of weights ===


@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files_are_read_in_both_forms(original, folder, zipped):
    as_torch(folder, _use_new_zipfile_serialization=zipped)
    np.testing.assert_array_equal(logits_of(folder), logits_of(original))


def test_pytorch_files_may_hold_bfloat16(tmp_path):
    values = torch.randn(3, 4).bfloat16()
    torch.save({"a": values, "b": torch.nn.Parameter(values[1])}, tmp_path / "file.bin")
    found = read_torch_file(tmp_path / "file.bin")
    np.testing.assert_array_equal(found["a"].astype("float32"), values.float().numpy())
    np.testing.assert_array_equal(found["b"].astype("float32"), values[1].float().numpy())


def test_sharded_safetensors_are_read(original, folder):
    tensors = sorted(tensors_of(folder).items())
    (folder / "model.safetensors").unlink()
    parts = {"model-00001-of-00002.safetensors": tensors[:9]}
    parts["model-00002-of-00002.safetensors"] = tensors[9:]
    weight_map = {}
    for part, content in parts.items():
        save_file(dict(content), folder / part)
        weight_map |= {name: part for name, _ in content}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    np.testing.assert_array_equal(logits_of(folder), logits_of(original))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-00002-of-00002.safetensors is missing"):
        logits_of(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(ValueError, match="which is no file of its folder"):
        logits_of(folder)


def test_an_original_tensorflow_checkpoint_is_read(original, folder, tmp_path):
    import tensorflow as tf

    from kerasllm.models.pretrained.tensorflow_files import transformers_name

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["model_type"], config["layer_norm_eps"]
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "bert_config.json").write_text(json.dumps(config))
    variables = {"global_step": tf.Variable(7)}
    for name, value in tensors_of(folder).items():
        old = name.replace(".layer.", "/layer_").replace(".", "/")
        if "LayerNorm" in old:
            old = old.replace("/weight", "/gamma").replace("/bias", "/beta")
        elif "_embeddings/" in old:
            old = old.removesuffix("/weight")
        elif name.startswith("classifier"):
            old = {"weight": "output_weights", "bias": "output_bias"}[name.split(".")[1]]
        elif old.endswith("/weight"):
            old, value = old.replace("/weight", "/kernel"), value.T
        assert transformers_name(old) == name
        variables[old] = tf.Variable(value)
        variables[f"{old}/adam_m"] = tf.Variable(value)
    tf.raw_ops.SaveV2(
        prefix=str(checkpoint / "bert_model.ckpt"),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=[variable.value() for variable in variables.values()],
    )
    np.testing.assert_array_equal(logits_of(checkpoint), logits_of(original))
    data = next(checkpoint.glob("bert_model.ckpt.data-*"))
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"bert_model.ckpt is damaged or incomplete"):
        logits_of(checkpoint)


def test_bfloat16_weights_become_float32(original, folder):
    values = {
        name: torch.from_numpy(value).bfloat16() for name, value in tensors_of(folder).items()
    }
    safetensors.torch.save_file(values, folder / "model.safetensors")
    np.testing.assert_allclose(logits_of(folder), logits_of(original), atol=0.1)


def test_old_names_of_layer_normalisation_are_read(original, folder):
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors_of(folder).items()
    }
    old["bert.embeddings.position_ids"] = np.arange(folders.MAX_LENGTH)[None]
    save_file(old, folder / "model.safetensors")
    np.testing.assert_array_equal(logits_of(folder), logits_of(original))


# === Missing and surplus tensors ===


def test_missing_tensors_are_named_and_only_a_head_can_be_new(folder):
    tensors = tensors_of(folder)
    del tensors["classifier.weight"], tensors["classifier.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"lacks 2 tensors: classifier.weight, classifier.bias; missing='new'"
    ):
        logits_of(folder)
    first, second = (BertClassifier.from_pretrained(folder, missing="new") for _ in range(2))
    pooled = first.backbone(folders.make_inputs())["pooled_output"]
    np.testing.assert_array_equal(pooled, second.backbone(folders.make_inputs())["pooled_output"])
    assert not np.array_equal(first.output_dense.kernel, second.output_dense.kernel)
    del tensors["bert.encoder.layer.1.output.dense.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"lacks 1 tensors: bert.encoder.layer.1.output.dense.bias\.$"
    ):
        logits_of(folder, missing="new")


def test_surplus_tensors_are_named(folder):
    with pytest.raises(
        ValueError, match=r"2 tensors that a BertBackbone has not: classifier.bias, classifier.w"
    ):
        BertBackbone.from_pretrained(folder)
    backbone = BertBackbone.from_pretrained(folder, surplus="ignore")
    assert backbone.count_params() > 0


def test_a_masked_lm_is_continued_from_a_classifier(folder):
    model = BertMaskedLM.from_pretrained(folder, missing="new", surplus="ignore")
    assert model(folders.make_inputs()).shape == (4, 11, folders.VOCABULARY_SIZE)


def test_tensors_that_are_tied_here_must_be_equal(tmp_path):
    theirs = folders.make_theirs("bert", "BertMaskedLM")
    folder = folders.save_theirs(theirs, tmp_path)
    tensors = tensors_of(folder)
    table = tensors["bert.embeddings.word_embeddings.weight"]
    save_file(tensors | {"cls.predictions.decoder.weight": table}, folder / "model.safetensors")
    BertMaskedLM.from_pretrained(folder)
    save_file(tensors | {"cls.predictions.decoder.weight": table + 1}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"cls.predictions.decoder.weight is not tied to"):
        BertMaskedLM.from_pretrained(folder)


# === What is damaged or harmful ===


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_truncated_safetensors_file_is_refused(folder, share):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged or cut off"):
        logits_of(folder)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_truncated_pytorch_file_is_refused(folder, zipped, share):
    as_torch(folder, _use_new_zipfile_serialization=zipped)
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"pytorch_model.bin (is refused|is no file of)"):
        logits_of(folder)


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(folder, zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = {"a": torch.ones(2), "b": Harmful()}
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"it calls (posix|os).system, .* may hold a harmful"):
        logits_of(folder)
    assert not (tmp_path / "harmed").exists()


def test_no_name_of_torch_but_those_of_tensors_is_known(tmp_path):
    class Eval:
        def __reduce__(self):
            return torch.load, ("file",)

    path = tmp_path / "file.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Eval()}))
    with pytest.raises(ValueError, match=r"it calls torch.serialization.load"):
        read_torch_file(path)


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / "file.bin"
    torch.save({"a": torch.ones(6)[2:]}, path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in content if name.endswith("data.pkl"))
    # The offset of 2 is the only K\x02 before the sizes.
    content[name] = content[name].replace(b"K\x02K\x04", b"K\x03K\x04", 1)
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in content.items():
            archive.writestr(name, part)
    with pytest.raises(ValueError, match="a tensor reaches beyond its storage"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2', of which there is no reader"),
        ({"hidden_size": 32}, "config do not belong together: .*word_embeddings.weight is"),
        ({"num_hidden_layers": 3}, "lacks 16 tensors: bert.encoder.layer.2"),
        ({"num_hidden_layers": 1}, "has 16 tensors that a BertClassifier has not"),
        ({"hidden_act": "mish"}, "the activation is 'mish'; expected one of gelu"),
        ({"hidden_size": "many"}, "hidden_size is 'many'; expected a positive integer"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"is_decoder": True}, "is_decoder is True; only False can be read"),
        ({"num_attention_heads": 3}, "which num_heads=3 does not divide"),
    ],
)
def test_a_wrong_config_is_refused(folder, changes, message):
    change_config(folder, **changes)
    with pytest.raises(ValueError, match=message):
        logits_of(folder, missing="new" if "lacks 16" in message else "error")


def test_a_broken_or_missing_config_is_refused(folder):
    (folder / "config.json").write_text('{"model_type":')
    with pytest.raises(ValueError, match=r"config.json is broken, it is no JSON"):
        logits_of(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config.json is missing"):
        logits_of(folder)


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no weights: there is no model.safetensors"):
        logits_of(folder)


def test_a_vocabulary_of_another_size_is_refused(folder):
    path = folder / "vocab.txt"
    tokens = path.read_text(encoding="utf-8")
    path.write_text(tokens + "more\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab.txt has 41 tokens, but the model has 40"):
        logits_of(folder)
    path.write_text(tokens.rsplit("\n", 2)[0] + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"has 39 tokens.*cut off.*allow_unused_rows=True"):
        logits_of(folder)
    assert logits_of(folder, allow_unused_rows=True).shape == (4, 3)


def test_an_encoder_without_classes_asks_for_their_number(folder):
    change_config(folder, id2label=None, label2id=None)
    with pytest.raises(ValueError, match=r"its config names no classes.*Give num_classes"):
        logits_of(folder)
    assert logits_of(folder, num_classes=3).shape == (4, 3)
    with pytest.raises(ValueError, match=r"classifier.weight is \(3, 16\), expected \(2, 16\)"):
        logits_of(folder, num_classes=2)


# === Writing ===


def test_what_cannot_be_written_leaves_the_folder_as_it_was(folder, monkeypatch):
    model = BertClassifier.from_pretrained(folder)
    tokenizer = load_tokenizer(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model.output_dense.bias.assign([1, 2, 3])

    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        model.save_pretrained(folder, tokenizer)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_dim": 4}, "embedding_dim is 4, but model_type 'bert' has 8"),
        ({"share_blocks": True}, "share_blocks is True, but model_type 'bert' has False"),
        (
            {"num_segments": None, "model_type": "albert"},
            "share_blocks is False, but model_type 'albert' has",
        ),
        ({"activation": keras.activations.tanh}, "has no name in transformers"),
    ],
)
def test_a_model_that_its_family_does_not_have_is_not_written(options, message, tmp_path):
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8}
    with pytest.raises(ValueError, match=message):
        BertBackbone(20, **sizes | options).save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


# === Names on the Hub ===


def test_without_a_network_a_name_gives_a_clear_message(monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match="no model of this name in the Hub's cache, and the"):
        BertBackbone.from_pretrained("kerasllm-tests/no-such-model")
    with pytest.raises(FileNotFoundError, match="There is no folder /no/such/folder"):
        BertBackbone.from_pretrained("/no/such/folder")


def test_a_model_in_the_cache_needs_no_network(original, monkeypatch, tmp_path):
    import huggingface_hub

    calls = []

    def snapshot_download(name, **options):
        calls.append((name, options["revision"]))
        return str(original)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    model = BertClassifier.from_pretrained("someone/some-model", revision="v1")
    assert model.num_classes == folders.NUM_CLASSES
    assert calls == [("someone/some-model", "v1")]
