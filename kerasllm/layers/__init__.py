"""Drop-in Keras layers on the fused ops, and the few that Keras lacks."""

from kerasllm.layers.dropout import Dropout
from kerasllm.layers.group_query_attention import GroupQueryAttention
from kerasllm.layers.lstm import LSTM
from kerasllm.layers.multi_head_attention import MultiHeadAttention
from kerasllm.layers.pooling import MaskedMaxPooling1D, MaskedMeanPooling1D

__all__ = [
    "LSTM",
    "Dropout",
    "GroupQueryAttention",
    "MaskedMaxPooling1D",
    "MaskedMeanPooling1D",
    "MultiHeadAttention",
]
