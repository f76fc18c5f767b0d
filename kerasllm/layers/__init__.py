"""Drop-in Keras layers on the fused ops, and the few that Keras lacks."""

from kerasllm.layers.cached_multi_head_attention import CachedMultiHeadAttention
from kerasllm.layers.dropout import Dropout
from kerasllm.layers.lstm import LSTM
from kerasllm.layers.pooling import MaskedMaxPooling1D, MaskedMeanPooling1D
from kerasllm.layers.rotary_embedding import RotaryEmbedding
from kerasllm.layers.sine_position_encoding import SinePositionEncoding
from kerasllm.layers.transformer_decoder_block import TransformerDecoderBlock
from kerasllm.layers.transformer_encoder_block import TransformerEncoderBlock

__all__ = [
    "LSTM",
    "CachedMultiHeadAttention",
    "Dropout",
    "MaskedMaxPooling1D",
    "MaskedMeanPooling1D",
    "RotaryEmbedding",
    "SinePositionEncoding",
    "TransformerDecoderBlock",
    "TransformerEncoderBlock",
]
