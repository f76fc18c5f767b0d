"""Drop-in Keras layers on the fused ops, and the few that Keras lacks."""

from kerasllm.layers.dropout import Dropout
from kerasllm.layers.jieba_segmentation import JiebaSegmentation
from kerasllm.layers.lstm import LSTM
from kerasllm.layers.pooling import MaskedMaxPooling1D, MaskedMeanPooling1D

__all__ = [
    "LSTM",
    "Dropout",
    "JiebaSegmentation",
    "MaskedMaxPooling1D",
    "MaskedMeanPooling1D",
]
