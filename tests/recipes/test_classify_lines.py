"""The exported model of a run, from a fresh Python process and from C."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import PROJECT, run_python
from recipe_helpers import make_rows

from kerasllm import TextClassifier, native

pytestmark = pytest.mark.skipif(not native.in_use(), reason="the native library is not in use")

TEXTS = [text.replace("\n", " ") for text, _ in make_rows(300, 7)] + [
    "",
    "\u200b",
    "😀" * 500,
    "\t",
]


@pytest.fixture(scope="module")
def expected(finished_run):
    return TextClassifier.load(finished_run[0]).probabilities(TEXTS)


def test_a_fresh_process_gives_the_probabilities_of_keras(finished_run, expected, tmp_path):
    code = """
import json, sys
import kerasllm_ops
kerasllm_ops.load()
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
texts = json.load(open(sys.argv[2]))
json.dump(serve(texts=tf.constant(texts))["probabilities"].numpy().tolist(), open(sys.argv[2], "w"))
"""
    file = tmp_path / "texts.json"
    file.write_text(json.dumps(TEXTS))
    run_python("-c", code, finished_run[0] / "saved_model", file)
    np.testing.assert_allclose(json.loads(file.read_text()), expected, atol=1e-6)


@pytest.fixture(scope="module")
def classify_lines():
    folder = Path(sys.executable).parent
    command = ["make", "-C", PROJECT, "classify-lines", f"BIN={folder}"]
    subprocess.run(command, check=True, capture_output=True, text=True)

    def run(*arguments, lines=""):
        return subprocess.run(
            [PROJECT / "build" / "classify_lines", *arguments],
            input=lines,
            capture_output=True,
            encoding="utf-8",
        )

    return run


def test_the_c_program_prints_the_labels_of_keras(classify_lines, finished_run, expected):
    model, library = finished_run[0] / "saved_model", native.info()["library"]
    labels = TextClassifier.load(finished_run[0]).labels
    done = classify_lines(model, library, lines="".join(f"{text}\n" for text in TEXTS))
    assert done.returncode == 0, done.stderr
    found = [line.split("\t") for line in done.stdout.splitlines()]
    assert [label for label, _ in found] == [labels[row.argmax()] for row in expected]
    np.testing.assert_allclose([float(p) for _, p in found], expected.max(-1), atol=2e-6)
    assert classify_lines(model, library, lines="").stdout == ""
    assert len(classify_lines(model, library, lines="没有换行").stdout.splitlines()) == 1


def test_the_c_program_says_what_is_wrong(classify_lines, tmp_path):
    assert classify_lines().returncode == 2
    library = native.info()["library"]
    for arguments in ((tmp_path, library), (tmp_path, tmp_path / "no.so")):
        done = classify_lines(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith("error: ")
