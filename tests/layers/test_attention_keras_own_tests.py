"""Keras's own tests of both attention layers, with our classes in the place of Keras's."""

import keras_own_tests
import pytest
from keras.src import layers

import kerasllm

MULTI_HEAD = "keras.src.layers.attention.multi_head_attention_test"
GROUPED = "keras.src.layers.attention.grouped_query_attention_test"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("case_class", "method"), keras_own_tests.collect(MULTI_HEAD, GROUPED))
def test_keras_own(case_class, method, monkeypatch):
    monkeypatch.setattr(layers, "MultiHeadAttention", kerasllm.layers.MultiHeadAttention)
    monkeypatch.setattr(layers, "GroupedQueryAttention", kerasllm.layers.GroupQueryAttention)
    keras_own_tests.run(case_class, method)


@pytest.mark.parametrize(
    ("name", "ours", "module"),
    [
        ("MultiHeadAttention", kerasllm.layers.MultiHeadAttention, MULTI_HEAD),
        ("GroupedQueryAttention", kerasllm.layers.GroupQueryAttention, GROUPED),
    ],
)
def test_the_replaced_class_is_the_one_that_runs(name, ours, module, monkeypatch):
    def broken(self, *args, **kwargs):
        raise AssertionError("our class runs")

    monkeypatch.setattr(layers, name, type("Broken", (ours,), {"build": broken}))
    failures = 0
    for parameter in keras_own_tests.collect(module):
        try:
            keras_own_tests.run(*parameter.values)
        except pytest.fail.Exception as failure:
            failures += "our class runs" in str(failure)
        except pytest.skip.Exception:
            pass
    assert failures > 0
