"""LoRA."""

import dataclasses

import keras

from kerasllm.training.parameter_efficient.low_rank_update import LowRankUpdate
from kerasllm.training.parameter_efficient.matrices import find_targets
from kerasllm.training.parameter_efficient.method import Method, register


@register
@dataclasses.dataclass(frozen=True)
class LoRA(Method):
    """Learns for some kernels `W` an update of low rank, `W + alpha / rank * A @ B`.

    `B` begins as zeros, so that training begins at the pretrained model. The update can be merged
    into the kernels, and then costs nothing.

    Source: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen, LoRA: Low-Rank Adaptation of Large
    Language Models, 2021.

    Args:
        rank: Rank of the updates. 8 by default.
        alpha: What updates are multiplied by, times `rank`. 16 by default.
        targets: Ends of the paths of the layers that get one: `Dense`, `EinsumDense` or
            `GatedDense`. Queries and values by default, as in the paper; `("query", "key", "value",
            "attention/output", "intermediate", "output")` is all of a block of ours.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple = ("query", "value")

    name = "lora"
    learning_rate = 5e-4

    def attach(self, model, attachment):
        for target in find_targets(model, self.targets):
            LoraUpdate(target, self.rank, self.alpha / self.rank).attach(attachment)


class LoraUpdate(LowRankUpdate):
    """`scale * a @ b`, on the kernel of a target."""

    def __init__(self, target, rank, scale):
        super().__init__(target, rank)
        self.scale = scale

    def build(self, input_shape=None):
        # The uniform distribution of variance 1 / (3 * input_dim).
        initializer = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.a = self.add_weight(
            name="a", shape=(self.input_dim, self.rank), initializer=initializer
        )
        self.b = self.add_weight(name="b", shape=(self.rank, self.output_dim), initializer="zeros")
        self.built = True

    def left(self):
        return self.scale * self.a

    def right(self):
        return self.b
