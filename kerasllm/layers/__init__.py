"""Drop-in Keras layers on the fused ops, and the few that Keras lacks."""

from kerasllm.layers.dropout import Dropout
from kerasllm.layers.lstm import LSTM
from kerasllm.layers.pooling import MaskedMaxPooling1D, MaskedMeanPooling1D
from kerasllm.layers.stochastic_depth import StochasticDepth

__all__ = [
    "LSTM",
    "Dropout",
    "MaskedMaxPooling1D",
    "MaskedMeanPooling1D",
    "StochasticDepth",
]
