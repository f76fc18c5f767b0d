"""Drop-in Keras layers on the fused ops, and the few that Keras lacks."""

from kerasllm.layers.cached_multi_head_attention import CachedMultiHeadAttention
from kerasllm.layers.dense import Dense
from kerasllm.layers.dropout import Dropout
from kerasllm.layers.gated_dense import GatedDense
from kerasllm.layers.layer_normalization import LayerNormalization
from kerasllm.layers.lstm import LSTM
from kerasllm.layers.pooling import MaskedMaxPooling1D, MaskedMeanPooling1D
from kerasllm.layers.rotary_embedding import RotaryEmbedding
from kerasllm.layers.sine_position_encoding import SinePositionEncoding
from kerasllm.layers.transformer_decoder_block import TransformerDecoderBlock
from kerasllm.layers.transformer_encoder_block import TransformerEncoderBlock

__all__ = [
    "LSTM",
    "CachedMultiHeadAttention",
from kerasllm.layers.rms_normalization import RMSNormalization

__all__ = [
    "LSTM",
    "Dense",
    "Dropout",
    "GatedDense",
    "LayerNormalization",
    "MaskedMaxPooling1D",
    "MaskedMeanPooling1D",
    "RotaryEmbedding",
    "SinePositionEncoding",
    "TransformerDecoderBlock",
    "TransformerEncoderBlock",
    "RMSNormalization",
]
