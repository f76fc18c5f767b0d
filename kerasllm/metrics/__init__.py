"""Keras metrics that Keras lacks."""

from kerasllm.metrics.macro_f1 import MacroF1

__all__ = ["MacroF1"]
