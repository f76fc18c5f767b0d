"""Keras 3 models for Chinese text on fused TensorFlow ops.

Importing the package registers its layers and models with Keras, so that saved models load.
"""

from kerasllm import native

native.announce()

from kerasllm import (  # noqa: E402
    explain,
    export,
    generation,
    layers,
    metrics,
    models,
    ops,
    optimizers,
    training,
)
from kerasllm.acceleration import accelerate  # noqa: E402
from kerasllm.text_classifier import TextClassifier  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "TextClassifier",
    "accelerate",
    "explain",
    "export",
    "generation",
    "layers",
    "metrics",
    "models",
    "native",
    "ops",
    "optimizers",
    "training",
]
