"""What importing the package asks for."""

import pytest
from processes import run_python

CODE = """
import sys, warnings
warnings.simplefilter("ignore")  # kerasllm runs without its fused ops
sys.modules["tensorflow"] = None  # an import of it fails
import kerasllm, kerasllm.training, kerasllm.tuning
import keras
assert keras.backend.backend() == "torch"
kerasllm.training.FGM(0.5), kerasllm.training.WeightDecay(0.1), kerasllm.training.Mixup(0.2)
try:
    kerasllm.training.regularize(keras.Sequential(), [])
except NotImplementedError as error:
    print(error)
"""


def test_training_once_imported_tensorflow_on_every_backend():
    pytest.importorskip("torch")
    finished = run_python("-c", CODE, KERAS_BACKEND="torch")
    assert "works on the TensorFlow backend, not on torch" in finished.stdout


def test_the_search_without_keras_tuner_says_what_to_install():
    code = """
import sys
sys.modules["keras_tuner"] = None
import kerasllm.tuning as tuning
assert tuning.SearchSpace("transformer").defaults()
for name in ("Search", "TextClassifierHyperModel", "make_oracle"):
    try:
        getattr(tuning, name)
    except ImportError as error:
        print(error)
"""
    finished = run_python("-c", code)
    assert finished.stdout.count('pip install "kerasllm[tuning]"') == 3
