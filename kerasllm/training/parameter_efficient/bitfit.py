"""BitFit."""

import dataclasses

from kerasllm.training.parameter_efficient.method import Method, register


@register
@dataclasses.dataclass(frozen=True)
class BitFit(Method):
    """Trains the biases, those of the normalisations too, and nothing else but the head.

    Source: Ben Zaken, Goldberg and Ravfogel, BitFit: Simple Parameter-efficient Fine-tuning for
    Transformer-based Masked Language-models, 2022.
    """

    name = "bitfit"
    learning_rate = 1e-3

    def attach(self, model, attachment):
        biases = [v for v in model.trainable_variables if v.name in ("bias", "beta")]
        if not biases:
            raise ValueError(f"{model.name} has no biases.")
        attachment.trained |= {id(variable) for variable in biases}
        attachment.merges = []
