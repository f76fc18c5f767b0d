"""AdaLoRA: the updates and their singular values."""

import dataclasses

import keras
from keras import ops

from kerasllm.training.parameter_efficient.low_rank_update import LowRankUpdate
from kerasllm.training.parameter_efficient.matrices import find_targets
from kerasllm.training.parameter_efficient.method import Method, register
from kerasllm.training.parameter_efficient.rank_allocation import RankAllocation


@register
@dataclasses.dataclass(frozen=True)
class AdaLoRA(Method):
    """LoRA whose ranks go where they matter.

    The update of a kernel is `P @ diag(s) @ Q`, the form of a singular value decomposition, with a
    penalty that keeps `P` and `Q` near orthogonal. In training, `RankAllocation` sets the singular
    values to 0 whose triplets of value and vectors matter least for the loss, over all kernels
    together, until on average `target_rank` are left. Merges as LoRA does.

    Source: Zhang, Chen, Bukharin, Karampatziakis, He, Cheng, Chen and Zhao, AdaLoRA: Adaptive
    Budget Allocation for Parameter-Efficient Fine-Tuning, 2023.

    Args:
        initial_rank: Rank of each update at first. 12 by default.
        target_rank: Mean rank at the end. 8 by default.
        targets: As in `LoRA`; the more layers, the more there is to choose from. By default all
            dense layers of a block of ours.
        orthogonality: Strength of the penalty `|P'P - 1|^2 + |QQ' - 1|^2`. 0.1 by default.
        warmup_share: The share of the steps before the ranks begin to fall. 0.1 by default.
        final_share: The share of the steps after they have fallen, with ranks fixed. 0.3 by
            default.
        interval: Steps between two allocations. 10 by default.
        sensitivity_decay: What a step's sensitivity counts against the next. 0.85 by default.
        uncertainty_decay: The same for its variation. 0.85 by default.
    """

    initial_rank: int = 12
    target_rank: int = 8
    targets: tuple = ("query", "key", "value", "attention/output", "intermediate", "output")
    orthogonality: float = 0.1
    warmup_share: float = 0.1
    final_share: float = 0.3
    interval: int = 10
    sensitivity_decay: float = 0.85
    uncertainty_decay: float = 0.85

    name = "adalora"
    learning_rate = 1e-3

    def __post_init__(self):
        if not 1 <= self.target_rank <= self.initial_rank:
            raise ValueError(
                f"target_rank is {self.target_rank} and initial_rank {self.initial_rank}; expected "
                "1 or more, and no less than that."
            )
        if not (self.warmup_share >= 0 and self.final_share >= 0) or (
            self.warmup_share + self.final_share >= 1
        ):
            raise ValueError(
                f"warmup_share is {self.warmup_share} and final_share {self.final_share}; together "
                "they should leave some steps for the ranks to fall."
            )

    def attach(self, model, attachment):
        for target in find_targets(model, self.targets):
            SingularUpdate(target, self.initial_rank, self.orthogonality).attach(attachment)

    def make_callbacks(self, train_steps):
        return [RankAllocation(self, train_steps)]


class SingularUpdate(LowRankUpdate):
    """`p @ diag(singular_values * kept) @ q`, and what `RankAllocation` knows of each."""

    def __init__(self, target, rank, orthogonality):
        super().__init__(target, rank)
        self.orthogonality = orthogonality

    def build(self, input_shape=None):
        vectors = {
            "initializer": keras.initializers.RandomNormal(stddev=0.02),
            "regularizer": Orthogonality(self.orthogonality),
        }
        self.p = self.add_weight(name="p", shape=(self.input_dim, self.rank), **vectors)
        self.singular_values = self.add_weight(
            name="singular_values", shape=(self.rank,), initializer="zeros"
        )
        vectors["initializer"] = keras.initializers.RandomNormal(stddev=0.02)
        self.q = self.add_weight(name="q", shape=(self.rank, self.output_dim), **vectors)

        def state(name, shape, initializer="zeros"):
            return self.add_weight(name=name, shape=shape, initializer=initializer, trainable=False)

        self.kept = state("kept", (self.rank,), "ones")
        self.sensitivities = [state("sensitivity", v.shape) for v in self.factors]
        self.uncertainties = [state("uncertainty", v.shape) for v in self.factors]
        self.built = True

    @property
    def factors(self):
        """The weights that train."""
        return [self.p, self.singular_values, self.q]

    def left(self):
        return self.p * (self.singular_values * self.kept)

    def right(self):
        return self.q


@keras.saving.register_keras_serializable(package="kerasllm")
class Orthogonality(keras.regularizers.Regularizer):
    """`strength * |M'M - 1|^2` for a tall matrix, `|MM' - 1|^2` for a wide one: the square of the
    Frobenius norm."""

    def __init__(self, strength):
        self.strength = strength

    def __call__(self, matrix):
        if matrix.shape[0] > matrix.shape[1]:
            matrix = ops.transpose(matrix)
        product = ops.matmul(matrix, ops.transpose(matrix))
        return self.strength * ops.sum(ops.square(product - ops.eye(product.shape[0])))

    def get_config(self):
        return {"strength": self.strength}
