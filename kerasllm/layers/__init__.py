"""Drop-in Keras layers on the fused ops, and the few that Keras lacks."""

from kerasllm.layers.dropout import Dropout
from kerasllm.layers.linear_cross_entropy import LinearCrossEntropy
from kerasllm.layers.lstm import LSTM
from kerasllm.layers.pooling import MaskedMaxPooling1D, MaskedMeanPooling1D

__all__ = [
    "LSTM",
    "Dropout",
    "LinearCrossEntropy",
    "MaskedMaxPooling1D",
    "MaskedMeanPooling1D",
]
