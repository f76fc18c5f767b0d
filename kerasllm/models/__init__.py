"""Model builders and model classes."""

from kerasllm.models.embedding_lstm import EmbeddingLSTMClassifier
from kerasllm.models.presets import make_classifier
from kerasllm.models.transformer_classifier import TransformerClassifier
from kerasllm.models.transformer_encoder_decoder import TransformerEncoderDecoder

__all__ = [
    "EmbeddingLSTMClassifier",
    "TransformerClassifier",
    "TransformerEncoderDecoder",
    "make_classifier",
]
