"""Model builders and model classes."""

from kerasllm.models.embedding_lstm import EmbeddingLSTMClassifier

__all__ = ["EmbeddingLSTMClassifier"]
