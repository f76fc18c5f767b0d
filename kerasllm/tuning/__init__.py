"""Many trainings of one task: sweeps over regularisers, and searches over hyperparameters."""

import importlib

from kerasllm.tuning.chief import die_with_parent, worker_address
from kerasllm.tuning.regularizers import REGULARIZERS, Treatment, treatment
from kerasllm.tuning.search_space import (
    ALGORITHMS,
    SEARCH_SPACES,
    Choice,
    Range,
    SearchSpace,
    read_changes,
)
from kerasllm.tuning.statistics import mean_interval, summarize, summary_table
from kerasllm.tuning.sweep import Cell, make_cells, run_sweep
from kerasllm.tuning.sweep_outputs import write_sweep
from kerasllm.tuning.task import TextTask
from kerasllm.tuning.train_cell import CellTrainer

# What stands on Keras Tuner, imported when it is asked for.
_NEED_KERAS_TUNER = {
    "BertHyperModel": "bert_hypermodel",
    "EmbeddingLSTMHyperModel": "hypermodel",
    "Search": "search",
    "SearchTuner": "tuner",
    "TextClassifierHyperModel": "hypermodel",
    "TransformerHyperModel": "hypermodel",
    "make_oracle": "algorithms",
}


def __getattr__(name):
    if name not in _NEED_KERAS_TUNER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NEED_KERAS_TUNER[name]}"), name)


__all__ = [
    "ALGORITHMS",
    "REGULARIZERS",
    "SEARCH_SPACES",
    "BertHyperModel",
    "Cell",
    "CellTrainer",
    "Choice",
    "EmbeddingLSTMHyperModel",
    "Range",
    "Search",
    "SearchSpace",
    "SearchTuner",
    "TextClassifierHyperModel",
    "TextTask",
    "TransformerHyperModel",
    "Treatment",
    "die_with_parent",
    "make_cells",
    "make_oracle",
    "mean_interval",
    "read_changes",
    "run_sweep",
    "summarize",
    "summary_table",
    "treatment",
    "worker_address",
    "write_sweep",
]
