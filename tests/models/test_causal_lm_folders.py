"""CausalLM against transformers on small random weights, and folders both ways."""

import json

import numpy as np
import pytest
import safetensors.numpy

from kerasllm.generation import generate_tokens
from kerasllm.models import CausalLM
from kerasllm.text import BPETokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LLAMA = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 160,
    "rms_norm_eps": 1e-5,
    "bos_token_id": None,
    "eos_token_id": None,
    "initializer_range": 0.15,
}
CONFIGS = {
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=99,
        n_positions=160,
        n_embd=32,
        n_layer=3,
        n_head=4,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.15,
    ),
    "llama": lambda: transformers.LlamaConfig(**LLAMA),
    "qwen2": lambda: transformers.Qwen2Config(**LLAMA, tie_word_embeddings=True),
    "qwen3": lambda: transformers.Qwen3Config(**LLAMA, head_dim=12),
}
TOKENS = np.random.default_rng(1).integers(0, 99, (2, 21))


def randomize(model):
    """Biases and gains that differ from zeros and ones."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)


@pytest.fixture(scope="module", params=CONFIGS)
def theirs(request, tmp_path_factory):
    """A model of transformers, and the folder that it was saved in."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[request.param]()).eval()
    randomize(model)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return model, folder


def their_logits(model):
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


def test_logits_are_those_of_transformers(theirs):
    model, folder = theirs
    ours = CausalLM.from_pretrained(folder)
    expected = their_logits(model)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(ours.logits(TOKENS), expected, atol=1e-5)
    mixed = CausalLM.from_pretrained(folder, dtype="mixed_bfloat16")
    np.testing.assert_allclose(mixed.logits(TOKENS), expected, atol=0.05 * np.abs(expected).max())


def test_64_greedy_tokens_are_those_of_transformers(theirs):
    model, folder = theirs
    prompts = torch.tensor(TOKENS)
    with torch.no_grad():
        expected = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=64,
            do_sample=False,
            pad_token_id=0,
        )[:, TOKENS.shape[1] :]
    ours = CausalLM.from_pretrained(folder)
    tokens = np.stack(list(generate_tokens(ours, TOKENS.tolist(), 64)), axis=1)
    np.testing.assert_array_equal(tokens, expected.numpy())


def test_round_trip_is_bit_equal_and_transformers_reads_it(theirs, tmp_path):
    model, folder = theirs
    ours = CausalLM.from_pretrained(folder)
    ours.save_pretrained(tmp_path)
    before = safetensors.numpy.load_file(folder / "model.safetensors")
    after = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert before.keys() - {"lm_head.weight"} == after.keys() - {"lm_head.weight"}
    for name, tensor in after.items():
        np.testing.assert_array_equal(tensor, before[name])
    again, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    np.testing.assert_allclose(their_logits(again.eval()), their_logits(model), atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_file_is_what_torch_rounds_to(theirs, tmp_path, dtype):
    model, folder = theirs
    CausalLM.from_pretrained(folder).save_pretrained(tmp_path, dtype=dtype)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert again.dtype == getattr(torch, dtype)
    for found, weight in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(found, weight.to(found.dtype))
    with pytest.raises(ValueError, match="dtype is 'int8'; expected one of float32"):
        CausalLM.from_pretrained(folder).save_pretrained(tmp_path, dtype="int8")


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    transformers.Qwen3ForCausalLM(CONFIGS["qwen3"]()).save_pretrained(tmp_path)
    return tmp_path


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_tensors(folder, change):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def test_damaged_folders_are_refused(folder, tmp_path):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="damaged or cut off"):
        CausalLM.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(whole)
    change_tensors(folder, lambda tensors: tensors.pop("model.norm.weight"))
    with pytest.raises(ValueError, match=r"lacks 1 tensors: model.norm.weight"):
        CausalLM.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(whole)
    change_tensors(folder, lambda tensors: tensors.update(extra=np.zeros(3, "float32")))
    with pytest.raises(ValueError, match=r"has 1 tensors that .* extra; surplus='ignore'"):
        CausalLM.from_pretrained(folder)
    assert CausalLM.from_pretrained(folder, surplus="ignore").num_layers == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "model_type is 'mamba'; CausalLM reads gpt2, llama"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; only 'silu'"),
        ({"intermediate_size": 45}, "do not belong together"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; expected a positive integer"),
        ({"vocab_size": None}, "lacks vocab_size"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "scaled \\('yarn'\\)"),
        # The folder has default rope_parameters; in transformers too rope_scaling goes first.
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "scaled \\('linear'\\)"),
    ],
)
def test_a_config_that_asks_for_something_else_is_refused(folder, change, message):
    change_config(folder, **change)
    with pytest.raises(ValueError, match=message):
        CausalLM.from_pretrained(folder)


def test_a_form_that_transformers_lacks_is_not_saved(tmp_path):
    model = CausalLM(50, 16, 8, 1, 2, positions="rotary", activation="relu")
    with pytest.raises(ValueError, match="No model of transformers has this form"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_trained_model_and_its_tokenizer_are_read_by_transformers(tmp_path):
    tokenizer = BPETokenizer.fit(["床前明月光，疑是地上霜。"] * 3, 280)
    model = CausalLM.from_preset(
        "modern", "nano", vocabulary_size=len(tokenizer), max_length=64, num_layers=1
    )
    model.save_pretrained(tmp_path, tokenizer)
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert peer("明月光")["input_ids"] == tokenizer.encode(["明月光"])[0]
    assert peer.eos_token_id == tokenizer.end_id
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    np.testing.assert_allclose(model.logits(TOKENS), their_logits(theirs), atol=1e-5)


def test_all_end_ids_of_a_tokenizer_are_saved(tmp_path):
    fitted = BPETokenizer.fit(["床前明月光，疑是地上霜。"] * 3, 280)
    tokenizer = BPETokenizer(fitted._tokenizer, fitted.end_id, [5, 7])
    CausalLM.from_preset("gpt2", "nano", vocabulary_size=280, num_layers=1).save_pretrained(
        tmp_path, tokenizer
    )
    loaded = BPETokenizer.load(tmp_path)
    assert (loaded.end_id, loaded.end_ids) == (fitted.end_id, (fitted.end_id, 5, 7))
