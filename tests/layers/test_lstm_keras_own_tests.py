"""Keras's own tests of LSTM and Bidirectional, with our class in the place of Keras's."""

import keras_own_tests
import pytest
from keras.src import layers

import kerasllm

LSTM_TESTS = "keras.src.layers.rnn.lstm_test"
BIDIRECTIONAL_TESTS = "keras.src.layers.rnn.bidirectional_test"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("case_class", "method"), keras_own_tests.collect(LSTM_TESTS, BIDIRECTIONAL_TESTS)
)
def test_keras_own(case_class, method, monkeypatch):
    monkeypatch.setattr(layers, "LSTM", kerasllm.layers.LSTM)
    keras_own_tests.run(case_class, method)


def test_the_replaced_class_is_the_one_that_runs(monkeypatch):
    class Broken(kerasllm.layers.LSTM):
        def inner_loop(self, *args, **kwargs):
            raise AssertionError("our class runs")

    monkeypatch.setattr(layers, "LSTM", Broken)
    case_class, method = keras_own_tests.collect(LSTM_TESTS)[1].values
    with pytest.raises(pytest.fail.Exception, match="our class runs"):
        keras_own_tests.run(case_class, method)
