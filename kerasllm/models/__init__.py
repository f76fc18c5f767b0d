"""Model builders and model classes."""

from kerasllm.models.bert_backbone import BertBackbone
from kerasllm.models.bert_classifier import BertClassifier
from kerasllm.models.bert_masked_lm import BertMaskedLM
from kerasllm.models.bert_presets import BERT_PRESETS
from kerasllm.models.bert_token_classifier import BertTokenClassifier
from kerasllm.models.causal_lm import CausalLM
from kerasllm.models.causal_lm_presets import causal_lm_arguments
from kerasllm.models.embedding_lstm import EmbeddingLSTMClassifier
from kerasllm.models.lstm_lm import LSTMLM
from kerasllm.models.ngram_lm import NgramLM
from kerasllm.models.presets import make_classifier
from kerasllm.models.pretrained import load_tokenizer
from kerasllm.models.transformer_classifier import TransformerClassifier
from kerasllm.models.transformer_encoder_decoder import TransformerEncoderDecoder

__all__ = [
    "BERT_PRESETS",
    "LSTMLM",
    "BertBackbone",
    "BertClassifier",
    "BertMaskedLM",
    "BertTokenClassifier",
    "CausalLM",
    "EmbeddingLSTMClassifier",
    "NgramLM",
    "TransformerClassifier",
    "TransformerEncoderDecoder",
    "causal_lm_arguments",
    "load_tokenizer",
    "make_classifier",
]
