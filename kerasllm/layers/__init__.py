"""Drop-in Keras layers on the fused ops, and the few that Keras lacks."""

from kerasllm.layers.cached_multi_head_attention import CachedMultiHeadAttention
from kerasllm.layers.character_segmentation import CharacterSegmentation
from kerasllm.layers.dense import Dense
from kerasllm.layers.dropout import Dropout
from kerasllm.layers.embedding import Embedding
from kerasllm.layers.gated_dense import GatedDense
from kerasllm.layers.group_query_attention import GroupQueryAttention
from kerasllm.layers.jieba_segmentation import JiebaSegmentation
from kerasllm.layers.key_value_cache import KeyValueCache
from kerasllm.layers.layer_normalization import LayerNormalization
from kerasllm.layers.linear_cross_entropy import LinearCrossEntropy
from kerasllm.layers.lstm import LSTM
from kerasllm.layers.multi_head_attention import MultiHeadAttention
from kerasllm.layers.multi_sample_dropout import MultiSampleDropout
from kerasllm.layers.pooling import MaskedMaxPooling1D, MaskedMeanPooling1D
from kerasllm.layers.rms_normalization import RMSNormalization
from kerasllm.layers.rotary_embedding import RotaryEmbedding
from kerasllm.layers.sine_position_encoding import SinePositionEncoding
from kerasllm.layers.stochastic_depth import StochasticDepth
from kerasllm.layers.text_cleaning import TextCleaning
from kerasllm.layers.text_encoding import TextEncoding
from kerasllm.layers.token_and_position_embedding import TokenAndPositionEmbedding
from kerasllm.layers.transformer_decoder_block import TransformerDecoderBlock
from kerasllm.layers.transformer_encoder_block import TransformerEncoderBlock
from kerasllm.layers.wordpiece_encoding import WordPieceEncoding

__all__ = [
    "LSTM",
    "CachedMultiHeadAttention",
    "CharacterSegmentation",
    "Dense",
    "Dropout",
    "Embedding",
    "GatedDense",
    "GroupQueryAttention",
    "JiebaSegmentation",
    "KeyValueCache",
    "LayerNormalization",
    "LinearCrossEntropy",
    "MaskedMaxPooling1D",
    "MaskedMeanPooling1D",
    "MultiHeadAttention",
    "MultiSampleDropout",
    "RMSNormalization",
    "RotaryEmbedding",
    "SinePositionEncoding",
    "StochasticDepth",
    "TextCleaning",
    "TextEncoding",
    "TokenAndPositionEmbedding",
    "TransformerDecoderBlock",
    "TransformerEncoderBlock",
    "WordPieceEncoding",
]
