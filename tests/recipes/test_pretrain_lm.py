"""The recipe that pretrains language models, as a user runs it."""

import csv
import json
import pathlib
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from processes import PROJECT, start_python
from recipe_helpers import load_recipe

from kerasllm.evaluation import evaluate_language_model_on_files
from kerasllm.models import CausalLM
from kerasllm.text import BPETokenizer, CharVocabularyTokenizer

RECIPE = PROJECT / "recipes" / "pretrain_lm.py"
SHAPE = {"hidden-dim": 16, "num-layers": 1, "length": 32, "batch-size": 4, "learning-rate": 0.01}
WORDS = ["明月", "春风", "江上", "故人", "何处", "千里", "白云", "归来"]


@pytest.fixture(scope="module")
def recipe():
    return load_recipe(RECIPE)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The arguments that name a corpus of 200 short poems and one of 20."""
    folder, generator, arguments = tmp_path_factory.mktemp("corpus"), random.Random(0), []
    for name, count in (("corpus", 200), ("valid", 20)):
        poems = ["，".join(generator.choices(WORDS, k=4)) + "。" for _ in range(count)]
        (folder / f"{name}.txt").write_text("\n".join(poems), encoding="utf-8")
        arguments += [f"--{name}", str(folder / f"{name}.txt")]
    return arguments


@pytest.fixture(scope="module")
def arguments(corpus):
    shape = [part for name, value in SHAPE.items() for part in (f"--{name}", str(value))]
    fixed = ["--steps", "48", "--dropout", "0.1", "--checkpoint-seconds", "0"]
    return [*corpus, *shape, *fixed]


@pytest.fixture(scope="module")
def unbroken(recipe, arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    return folder, recipe.main([*arguments, "--output-dir", str(folder)])


def rows_of(folder):
    with open(folder / "steps.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_run_leaves_everything_it_promises(recipe, unbroken):
    folder, metrics = unbroken
    assert json.loads((folder / "metrics.json").read_text("utf-8")) == metrics
    assert set(metrics["valid"]) >= {"nats_per_token", "nats_per_character", "perplexity"}
    assert metrics["valid"]["nats_per_token"] < 2.3  # 20 characters, evenly: 3.0
    for name in ("tokens_per_second", "share_of_peak", "seconds"):
        assert metrics[name] > 0
    assert metrics["steps"] == len(rows_of(folder)) - 1 == 48
    for name in ("model.keras", "metrics.json", "steps.csv", "plan.json", "tensorboard/"):
        assert (folder / name).exists() and name in recipe.__doc__
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))


def test_saved_model_and_tokenizer_go_together(recipe, unbroken):
    import keras

    folder, _ = unbroken
    model = keras.saving.load_model(folder / "model.keras")
    tokenizer = CharVocabularyTokenizer.load(folder)
    assert isinstance(model, CausalLM) and model.vocabulary_size == len(tokenizer)
    ids = [[tokenizer.end_id, *tokenizer.encode(["明"])[0]]]
    best = int(np.argmax(np.asarray(model.logits(np.array(ids, np.int32)))[0, -1]))
    assert tokenizer.decode([best]) == "月"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_run_that_was_ended_goes_on_bit_by_bit(recipe, arguments, unbroken, tmp_path, number):
    folder = tmp_path / "run"
    command = [*arguments, "--output-dir", str(folder)]
    process = start_python(RECIPE, *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 240
        while not list((folder / "checkpoints").glob("step_*[1-9]*.npz")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.send_signal(number)
        error = process.communicate()[1].decode()
    assert not (folder / "metrics.json").exists()
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number
        assert "stopped by SIGTERM after step" in error and "--resume goes on from it" in error
    metrics = recipe.main([*command, "--resume"])
    expected, expected_metrics = unbroken
    assert rows_of(folder) == rows_of(expected)
    assert metrics["valid"] == expected_metrics["valid"]


def test_resuming_a_finished_run_trains_no_more(recipe, arguments, unbroken, capsys):
    folder, metrics = unbroken
    before = (folder / "steps.csv").read_bytes()
    again = recipe.main([*arguments, "--output-dir", str(folder), "--resume"])
    assert again["valid"] == metrics["valid"]
    assert (folder / "steps.csv").read_bytes() == before
    assert "tokenised anew" not in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="holds an earlier run"):
        recipe.main([*arguments, "--output-dir", str(folder)])
    changed = [*arguments, "--seed", "5", "--output-dir", str(folder), "--resume"]
    with pytest.raises(ValueError, match="seed was 0 and is 5"):
        recipe.main(changed)


def test_budget_is_kept_and_told(recipe, corpus, tmp_path, capsys):
    begun = time.monotonic()
    options = ["--budget", "12s", "--model", "lstm"]
    options += ["--tokenizer", "bpe", "--vocabulary-size", "300"]
    metrics = recipe.main([*corpus, *options, "--output-dir", str(tmp_path / "run")])
    assert time.monotonic() - begun < 30
    assert metrics["seconds"] < 13
    output = capsys.readouterr().out
    for words in ("tokens/s", "% of peak", "bits per character", " left", "ms a step"):
        assert words in output
    assert (tmp_path / "run" / "tokenizer.json").is_file()
    per_character = metrics["valid"]["nats_per_character"]
    assert per_character != metrics["valid"]["nats_per_token"]


def test_corpus_of_one_line_trains(recipe, corpus, arguments, tmp_path):
    (tmp_path / "line.txt").write_text("明月光", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    few = ["--steps", "2", "--output-dir", str(tmp_path / "run")]
    sources = ["--corpus", str(tmp_path / "line.txt"), str(tmp_path / "empty.txt")]
    metrics = recipe.main([*arguments, *sources, *few])
    assert metrics["valid"]["nats_per_token"] > 0 and metrics["valid"]["unknown_rate"] > 0.5


def test_corpus_that_cannot_be_read_is_refused_in_a_sentence(recipe, arguments, tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes("好的，没有问题\n".encode() + b"\xff\xfe\xfa\n")
    for path, words in ((bad, "line 2"), (tmp_path / "none.txt", "does not exist")):
        options = ["--corpus", str(path), "--output-dir", str(tmp_path / path.stem)]
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            recipe.main([*arguments, *options])
    with pytest.raises(ValueError, match="'soon' is no time"):
        recipe.main([*arguments[:4], "--budget", "soon", "--output-dir", str(tmp_path / "other")])


def test_run_that_was_refused_does_not_block_its_folder(recipe, arguments, unbroken, tmp_path):
    """A typo in a file's name, in the corpus, or in a value that only training looks at."""
    folder, (_, corpus, _, valid) = tmp_path / "run", arguments[:4]
    output = ["--output-dir", str(folder)]
    with pytest.raises(FileNotFoundError, match=r"typo.txt does not exist"):
        recipe.main([*arguments, "--corpus", corpus + "typo.txt", *output])
    # This one gets as far as a tokenizer, of another kind and on another corpus.
    bpe = ["--tokenizer", "bpe", "--vocabulary-size", "300"]
    with pytest.raises(FileNotFoundError, match=r"typo.txt does not exist"):
        recipe.main([*arguments, "--valid", valid + "typo.txt", *output])
    with pytest.raises(ValueError, match="line 2"):
        (tmp_path / "bad.txt").write_bytes("好的\n".encode() + b"\xff\xfe\xfa\n")
        recipe.main([*arguments, *bpe, "--valid", str(tmp_path / "bad.txt"), *output])
    assert (folder / "tokenizer.json").is_file()
    (folder / "plan.json").write_text("{}", encoding="utf-8")
    metrics = recipe.main([*arguments, *output, "--resume"])
    assert metrics["valid"] == unbroken[1]["valid"]
    assert not (folder / "tokenizer.json").exists()


def test_resuming_with_a_changed_corpus_is_refused(recipe, arguments, tmp_path):
    corpus = tmp_path / "corpus.txt"
    text = pathlib.Path(arguments[1]).read_text("utf-8")
    corpus.write_text(text, encoding="utf-8")
    command = [*arguments, "--corpus", str(corpus), "--steps", "4", "--output-dir"]
    command.append(str(tmp_path / "run"))
    metrics = recipe.main(command)
    corpus.write_text(text[::-1], encoding="utf-8")
    for _ in range(2):  # the second finds the cache of the first
        with pytest.raises(ValueError, match="tokens of the corpus are not those that the run"):
            recipe.main([*command, "--resume"])
    corpus.write_text(text, encoding="utf-8")
    assert recipe.main([*command, "--resume"])["valid"] == metrics["valid"]


@pytest.mark.parametrize("model", ["lstm", "modern"])
def test_evaluation_gives_the_figures_of_metrics_json(recipe, corpus, tmp_path, model):
    """By the run's own rows, documents and cleaning, whatever they are."""
    shape = ["--hidden-dim", "16", "--num-layers", "1", "--length", "48", "--batch-size", "2"]
    shape += ["--learning-rate", "0.01", "--dropout", "0", "--steps", "4", "--model", model]
    valid = tmp_path / "valid.txt"
    text = pathlib.Path(corpus[3]).read_text("utf-8").replace("，", "<b>，</b>")
    valid.write_text(text, encoding="utf-8")
    read = ["--valid", str(valid), "--documents", "file", "--clean"]
    folder = tmp_path / "run"
    metrics = recipe.main([*corpus, *read, *shape, "--output-dir", str(folder)])
    evaluate = load_recipe(PROJECT / "recipes" / "evaluate_lm.py")
    command = ["--model-dir", str(folder), "--input", str(valid)]
    (report,) = evaluate.main(command).values()
    assert report.items() <= metrics["valid"].items()
    (other,) = evaluate.main([*command, "--no-clean", "--documents", "line"]).values()
    assert other["tokens"] > report["tokens"]


def test_files_are_read_by_the_encoding_and_the_field_that_are_named(
    recipe, arguments, unbroken, tmp_path
):
    options = ["--encoding", "utf-16-le", "--text-field", "poem"]
    sources = []
    for option, path in (arguments[:2], arguments[2:4]):
        poems = pathlib.Path(path).read_text("utf-8").split("\n")
        lines = [json.dumps({"poem": poem}, ensure_ascii=False) + "\n" for poem in poems]
        file = tmp_path / f"{pathlib.Path(path).stem}.jsonl"
        file.write_bytes("".join(lines).encode("utf-16-le"))
        sources += [option, str(file)]
    folder = tmp_path / "run"
    metrics = recipe.main([*arguments, *sources, *options, "--output-dir", str(folder)])
    assert metrics["valid"] == unbroken[1]["valid"]
    evaluate = load_recipe(PROJECT / "recipes" / "evaluate_lm.py")
    (report,) = evaluate.main(["--model-dir", str(folder), "--input", sources[3]]).values()
    assert report.items() <= metrics["valid"].items()


def test_evaluation_refuses_a_window_of_nothing(unbroken, arguments, capsys):
    evaluate = load_recipe(PROJECT / "recipes" / "evaluate_lm.py")
    for option in ("--window", "--stride"):
        with pytest.raises(SystemExit):
            evaluate.main(["--model-dir", str(unbroken[0]), "--input", arguments[3], option, "0"])
        assert "should be a whole number from 1" in capsys.readouterr().err


def test_evaluation_reads_hugging_face_folders(arguments, tmp_path):
    evaluate = load_recipe(PROJECT / "recipes" / "evaluate_lm.py")
    tokenizer = BPETokenizer.fit(["明月春风"] * 3, 280)
    model = CausalLM.from_preset(
        "gpt2", vocabulary_size=300, hidden_dim=16, num_layers=1, num_heads=2, max_length=40
    )
    model.save_pretrained(tmp_path, tokenizer)
    (report,) = evaluate.main(["--model-dir", str(tmp_path), "--input", arguments[3]]).values()
    expected = evaluate_language_model_on_files(model, tokenizer, arguments[3], window=40)
    assert report["nats_per_token"] == pytest.approx(expected["nats_per_token"], rel=1e-6)


def test_models_are_compared_with_the_floor_of_ngrams(unbroken, arguments, tmp_path, capsys):
    folder, metrics = unbroken
    evaluate = load_recipe(PROJECT / "recipes" / "evaluate_lm.py")
    files = [
        "--corpus",
        arguments[1],
        "--input",
        arguments[3],
        "--output",
        str(tmp_path / "t.json"),
    ]
    reports = evaluate.main(["--model-dir", str(folder), *files])
    assert list(reports) == ["3-grams", str(folder)]
    assert reports[str(folder)]["nats_per_token"] == metrics["valid"]["nats_per_token"]
    # Within a word the next character is sure; between words there are eight.
    assert 0.5 < reports["3-grams"]["nats_per_token"] < 1.2
    assert json.loads((tmp_path / "t.json").read_text("utf-8")) == reports
    assert "| 3-grams |" in capsys.readouterr().out
