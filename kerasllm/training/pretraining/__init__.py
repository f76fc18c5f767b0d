"""Pretraining within a budget of time: a plan, its steps, checkpoints, guards."""

from kerasllm.training.pretraining.checkpoints import BEGUN, Checkpoints
from kerasllm.training.pretraining.guard import SpikeGuard
from kerasllm.training.pretraining.machine import (
    matrix_weights,
    measure_peak,
    training_flops_per_token,
)
from kerasllm.training.pretraining.measure import measure_step_seconds
from kerasllm.training.pretraining.plan import TrainingPlan
from kerasllm.training.pretraining.run import PLAN_FILE, PretrainingRun
from kerasllm.training.pretraining.signals import TrainingStopped
from kerasllm.training.pretraining.steps import CompiledSteps
from kerasllm.training.pretraining.trainer import Pretrainer

__all__ = [
    "BEGUN",
    "PLAN_FILE",
    "Checkpoints",
    "CompiledSteps",
    "Pretrainer",
    "PretrainingRun",
    "SpikeGuard",
    "TrainingPlan",
    "TrainingStopped",
    "matrix_weights",
    "measure_peak",
    "measure_step_seconds",
    "training_flops_per_token",
]
