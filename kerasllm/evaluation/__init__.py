"""What a trained model does well and badly: figures, pictures, and the texts it gets wrong."""

from kerasllm.evaluation.errors import write_errors
from kerasllm.evaluation.evaluate import evaluate_classifier
from kerasllm.evaluation.language_model import (
    compare_language_models,
    evaluate_language_model,
    evaluate_language_model_on_files,
    format_language_models,
)
from kerasllm.evaluation.masked_language_model import evaluate_masked_language_model
from kerasllm.evaluation.plots import (
    plot_confusion_matrix,
    plot_intervals,
    plot_learning_curves,
    require_matplotlib,
)
from kerasllm.evaluation.report import classification_report, confusion_matrix, format_report

__all__ = [
    "classification_report",
    "compare_language_models",
    "confusion_matrix",
    "evaluate_classifier",
    "evaluate_language_model",
    "evaluate_language_model_on_files",
    "evaluate_masked_language_model",
    "format_language_models",
    "format_report",
    "plot_confusion_matrix",
    "plot_intervals",
    "plot_learning_curves",
    "require_matplotlib",
    "write_errors",
]
