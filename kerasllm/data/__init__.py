"""From files as users have them to batches: reading tables, splitting, batching."""

from kerasllm.data.batches import class_weights, make_batches, make_prediction_batches
from kerasllm.data.corpus import Corpus, CorpusReport
from kerasllm.data.documents import read_texts
from kerasllm.data.language_model_rows import LanguageModelEncoder, LanguageModelRows
from kerasllm.data.masked_rows import MaskedLanguageModelEncoder, MaskedLanguageModelRows
from kerasllm.data.packing import PackedRows
from kerasllm.data.report import TableReport
from kerasllm.data.split import stratified_split
from kerasllm.data.table import read_table
from kerasllm.data.token_cache import TokenCache, open_token_cache, tokenize_corpus

__all__ = [
    "Corpus",
    "CorpusReport",
    "LanguageModelEncoder",
    "LanguageModelRows",
    "MaskedLanguageModelEncoder",
    "MaskedLanguageModelRows",
    "PackedRows",
    "TableReport",
    "TokenCache",
    "class_weights",
    "make_batches",
    "make_prediction_batches",
    "open_token_cache",
    "read_table",
    "read_texts",
    "stratified_split",
    "tokenize_corpus",
]
