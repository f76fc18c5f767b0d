"""recipes/generate.py on small folders: the same text again, streams, verses, errors in a
sentence."""

import keras
import numpy as np
import pytest
from processes import PROJECT
from recipe_helpers import load_recipe

from kerasllm.generation import VerseForm
from kerasllm.models import LSTMLM, CausalLM
from kerasllm.text import BPETokenizer, CharVocabularyTokenizer

POEM = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"


@pytest.fixture(scope="module")
def recipe():
    return load_recipe(PROJECT / "recipes" / "generate.py")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder as pretrain_lm.py writes it, one with an LSTM, and a Hugging Face folder."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models")
    characters = CharVocabularyTokenizer.fit([POEM])
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "max_length": 64}
    models = {
        "modern": CausalLM.from_preset("modern", vocabulary_size=len(characters), **sizes),
        "lstm": LSTMLM(len(characters), embedding_dim=8, units=8, num_layers=1),
    }
    for name, model in models.items():
        (folder / name).mkdir()
        model.save(folder / name / "model.keras")
        characters.save(folder / name)
    pairs = BPETokenizer.fit([POEM] * 3, 280)
    # A round number of ids, as many such folders have.
    gpt = CausalLM.from_preset("gpt2", vocabulary_size=320, **sizes)
    gpt.save_pretrained(folder / "hugging_face", pairs)
    return folder


def run(recipe, capsys, folder, *arguments):
    status = recipe.main(["--model-dir", str(folder), *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.mark.parametrize("name", ["modern", "lstm", "hugging_face"])
def test_a_seed_gives_the_same_text_again(recipe, folders, capsys, name):
    arguments = ["--prompt", "床前", "--max-tokens", "20", "--top-p", "0.9", "--seed"]
    status, text, errors = run(recipe, capsys, folders / name, *arguments, "1")
    assert status == 0 and errors == "" and text.startswith("床前")
    assert run(recipe, capsys, folders / name, *arguments, "1", "--stream")[1] == text
    others = [run(recipe, capsys, folders / name, *arguments, seed)[1] for seed in "234"]
    assert len({text, *others}) > 2


def test_every_verse_has_its_form(recipe, folders, capsys):
    arguments = ["--verse", "--num-texts", "5", "--max-tokens", "40"]
    status, text, errors = run(recipe, capsys, folders / "modern", *arguments)
    assert status == 0 and errors.startswith("--seed ")
    form = VerseForm(CharVocabularyTokenizer.load(folders / "modern"))
    poems = text.split()
    assert len(set(poems)) == 5 and all(form.fits(poem) for poem in poems)
    seed = errors.split()[1]
    assert run(recipe, capsys, folders / "modern", *arguments, "--seed", seed)[1] == text


def test_a_verse_of_a_model_with_more_ids_than_its_tokenizer(recipe, folders, capsys):
    arguments = ["--verse", "--prompt", POEM[:18], "--max-tokens", "40", "--seed", "1"]
    status, text, errors = run(recipe, capsys, folders / "hugging_face", *arguments)
    assert status == 0, errors
    assert VerseForm(BPETokenizer.load(folders / "hugging_face")).fits(text.strip())


def test_a_text_is_longer_than_the_models_rows(recipe, folders, capsys):
    arguments = ["--prompt", "床前", "--max-tokens", "150", "--seed", "1", "--top-k", "9"]
    for name in ("modern", "hugging_face"):
        generator = recipe.load(folders / name, None)
        generator.end_ids = ()
        text = generator.generate(["床前"], recipe.Sampling(top_k=9, seed=1), 150)[0]
        tokens = [token for ids in generator.tokenizer.encode([text]) for token in ids]
        assert len(tokens) > 64
    assert run(recipe, capsys, folders / "modern", *arguments)[0] == 0


def test_beams_stops_and_dtypes(recipe, folders, capsys):
    status, text, _ = run(recipe, capsys, folders / "modern", "--num-beams", "3", "--prompt", "床")
    assert status == 0 and text.startswith("床")
    arguments = ["--seed", "3", "--stop", "，", "。", "--dtype-policy", "mixed_bfloat16"]
    status, text, _ = run(recipe, capsys, folders / "modern", *arguments)
    assert status == 0 and not set(text) & set("，。")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--top-p", "2"], "top_p is 2.0; expected a number from 0 to 1"),
        (["--max-tokens", "0"], "--max-tokens is 0; expected 1 or more"),
        (["--num-beams", "0"], "--num-beams is 0; expected 1 or more"),
        (["--stream", "--num-texts", "3"], "--stream prints one text"),
        (
            ["--num-beams", "3", "--verse", "--stop", "，", "--num-texts", "3"],
            "leave it out, or --num-texts, --stop, --verse.",
        ),
        (["--num-beams", "3", "--top-p", "0.9"], "leave it out, or --top-p."),
        (["--verse", "--prompt", "床前，"], "not the begin of 4 lines"),
        (["--prompt", "床" * 64], "65 tokens; the model takes 64"),
    ],
)
def test_mistakes_get_a_sentence(recipe, folders, capsys, arguments, sentence):
    status, text, errors = run(recipe, capsys, folders / "modern", *arguments)
    assert status == 1 and text == ""
    assert sentence in errors and len(errors.splitlines()) == 1


def test_folders_that_are_none_get_a_sentence(recipe, folders, capsys, tmp_path):
    assert "There is no folder" in run(recipe, capsys, tmp_path / "nowhere")[2]
    assert "neither model.keras nor config.json" in run(recipe, capsys, tmp_path)[2]
    (tmp_path / "model.keras").write_bytes(np.zeros(100, "uint8").tobytes())
    assert "is no saved model, or is cut off" in run(recipe, capsys, tmp_path)[2]
