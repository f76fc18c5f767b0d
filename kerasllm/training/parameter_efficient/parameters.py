"""How many parameters train."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class ParameterCount:
    """Numbers of values in a model's weights, without states of random generators.

    Attributes:
        trained: Those that train.
        total: All.
    """

    trained: int
    total: int

    @property
    def share(self):
        """The share of those that train, from 0 to 1."""
        return self.trained / self.total if self.total else 0.0

    def __str__(self):
        return f"{self.trained:,} of {self.total:,} parameters train ({self.share:.2%})"


def count_parameters(model):
    """Counts a model's parameters, and those that train.

    The estimates of importance that AdaLoRA keeps are none.

    Args:
        model: A built Keras model.

    Returns:
        A `ParameterCount`.
    """
    trained = sum(math.prod(v.shape) for v in model.trainable_weights)
    states = {
        id(v) for layer in getattr(model, "adapters", []) for v in layer.non_trainable_weights
    }
    total = sum(math.prod(v.shape) for v in model.weights if id(v) not in states)
    return ParameterCount(trained, total)
