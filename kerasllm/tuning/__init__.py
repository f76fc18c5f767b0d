"""Many trainings of one task: sweeps over regularisers."""

from kerasllm.tuning.regularizers import REGULARIZERS, Treatment, treatment
from kerasllm.tuning.statistics import mean_interval, summarize, summary_table
from kerasllm.tuning.sweep import Cell, make_cells, run_sweep
from kerasllm.tuning.sweep_outputs import write_sweep
from kerasllm.tuning.train_cell import CellTrainer

__all__ = [
    "REGULARIZERS",
    "Cell",
    "CellTrainer",
    "Treatment",
    "make_cells",
    "mean_interval",
    "run_sweep",
    "summarize",
    "summary_table",
    "treatment",
    "write_sweep",
]
