"""Drop-in Keras layers on the fused ops, and the few that Keras lacks."""

from kerasllm.layers.dense import Dense
from kerasllm.layers.dropout import Dropout
from kerasllm.layers.gated_dense import GatedDense
from kerasllm.layers.layer_normalization import LayerNormalization
from kerasllm.layers.lstm import LSTM
from kerasllm.layers.pooling import MaskedMaxPooling1D, MaskedMeanPooling1D
from kerasllm.layers.rms_normalization import RMSNormalization

__all__ = [
    "LSTM",
    "Dense",
    "Dropout",
    "GatedDense",
    "LayerNormalization",
    "MaskedMaxPooling1D",
    "MaskedMeanPooling1D",
    "RMSNormalization",
]
