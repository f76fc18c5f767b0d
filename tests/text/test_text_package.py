"""What holds for kerasllm.text as a whole: its examples, and how light it is."""

import doctest
import importlib
import pathlib
import pkgutil
import subprocess
import sys

import pytest

import kerasllm.text
from kerasllm.text import JiebaTokenizer, TextPipeline

MODULES = [module.name for module in pkgutil.iter_modules(kerasllm.text.__path__)]

# An empty parent package in the place of kerasllm/__init__.py, which is not the subject here.
ALONE = """
import sys, types
parent = types.ModuleType("kerasllm")
parent.__path__ = [{folder!r}]
sys.modules["kerasllm"] = parent
"""


def run_alone(code):
    folder = str(pathlib.Path(kerasllm.text.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE.format(folder=folder) + code],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    result = doctest.testmod(importlib.import_module(f"kerasllm.text.{name}"))
    assert result.failed == 0


def test_a_saved_pipeline_does_the_same_in_another_process(tmp_path):
    texts = ["<p>味道很好！</p>", "李小福在云计算实验室", ""]
    tokenizer = JiebaTokenizer("search", user_dictionary=["云计算实验室"])
    pipeline = TextPipeline.fit(texts, tokenizer=tokenizer)
    pipeline.save(tmp_path)
    done = run_alone(
        "from kerasllm.text import TextPipeline\n"
        f"print(TextPipeline.load({str(tmp_path)!r}).encode({texts!r}))"
    )
    assert (done.stdout.strip(), done.stderr) == (str(pipeline.encode(texts)), "")


def test_importing_the_package_loads_no_heavy_library():
    done = run_alone(
        "import kerasllm.text\n"
        "print([n for n in ('tensorflow', 'keras', 'pandas', 'numpy', 'jieba')"
        " if n in sys.modules])"
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_first_use_of_jieba_prints_and_warns_nothing():
    done = run_alone(
        "from kerasllm.text import JiebaTokenizer\n"
        "import logging; level = logging.getLogger('jieba').level\n"
        "JiebaTokenizer().segment(['你好'])\n"
        "print(logging.getLogger('jieba').level != logging.WARNING)"
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")
