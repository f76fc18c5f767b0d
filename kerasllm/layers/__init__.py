"""Drop-in Keras layers on the fused ops, and the few that Keras lacks."""

from kerasllm.layers.dropout import Dropout
from kerasllm.layers.embedding import Embedding
from kerasllm.layers.lstm import LSTM
from kerasllm.layers.pooling import MaskedMaxPooling1D, MaskedMeanPooling1D
from kerasllm.layers.token_and_position_embedding import TokenAndPositionEmbedding

__all__ = [
    "LSTM",
    "Dropout",
    "Embedding",
    "MaskedMaxPooling1D",
    "MaskedMeanPooling1D",
    "TokenAndPositionEmbedding",
]
