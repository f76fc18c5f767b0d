"""Keras metrics that Keras lacks: integer labels, logits, masks, and tokens that do not count."""

from kerasllm.metrics.auc import OneVsRestAUC
from kerasllm.metrics.calibration import ExpectedCalibrationError
from kerasllm.metrics.class_scores import ClassPrecision, ClassRecall, FBeta, MacroF1
from kerasllm.metrics.confusion_matrix import ConfusionMatrix
from kerasllm.metrics.token_metrics import Perplexity, TokenAccuracy

__all__ = [
    "ClassPrecision",
    "ClassRecall",
    "ConfusionMatrix",
    "ExpectedCalibrationError",
    "FBeta",
    "MacroF1",
    "OneVsRestAUC",
    "Perplexity",
    "TokenAccuracy",
]
