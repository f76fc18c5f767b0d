"""The scripts in the README run as they stand."""

import pathlib
import re
import shutil
import subprocess
import sys

from kerasllm.datasets import reviews

README = (pathlib.Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")


def script():
    """The first Python script."""
    return re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]


def snippet(beginning):
    """The code between backticks that begins so."""
    found = re.search(rf"`({re.escape(beginning)}[^`]*)`", README)
    assert found, f"The README has no `{beginning}...` any more: its test should go too."
    return " ".join(found[1].split())


def run(code, folder):
    shutil.copy(reviews()["valid"], folder / "reviews.csv")
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=folder, timeout=300, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_scripts_train_and_save_a_classifier_and_explain_what_it_says(tmp_path):
    parts = [
        script(),
        "from kerasllm.training import FGM, RDrop",
        snippet("kerasllm.training.regularize("),
        "model.fit(batches(train, shuffle=True), epochs=1, shuffle=False)",
        "classifier = kerasllm.TextClassifier.load('my-model')",
        "text = '房间很干净，还会再来'",
        f"print(({snippet('kerasllm.explain.explain_text(')}))",
    ]
    output = run("\n".join(parts), tmp_path)
    assert (tmp_path / "my-model" / "model.keras").is_file()
    assert (tmp_path / "my-model" / "text_pipeline.json").is_file()
    explained = output[output.rindex("loss") :]
    assert "\x1b[" in explained and "再" in explained  # coloured, word by word
