"""From files as users have them to batches: reading tables, splitting, batching."""

from kerasllm.data.batches import class_weights, make_batches, make_prediction_batches
from kerasllm.data.documents import read_texts
from kerasllm.data.parts import read_parts
from kerasllm.data.report import TableReport
from kerasllm.data.split import stratified_split
from kerasllm.data.table import read_table

__all__ = [
    "TableReport",
    "class_weights",
    "make_batches",
    "make_prediction_batches",
    "read_parts",
    "read_table",
    "read_texts",
    "stratified_split",
]
