"""The script in the README runs as it stands."""

import pathlib
import re
import shutil
import subprocess
import sys

from kerasllm.datasets import reviews

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_the_script_in_the_readme_trains_and_saves_a_classifier(tmp_path):
    script = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    shutil.copy(reviews()["valid"], tmp_path / "reviews.csv")
    command = [sys.executable, "-c", script[1]]
    result = subprocess.run(command, cwd=tmp_path, timeout=300, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "my-model" / "model.keras").is_file()
    assert (tmp_path / "my-model" / "text_pipeline.json").is_file()
