"""The layer that adds a matrix of low rank to the kernel of another."""

import keras
from keras import ops

from kerasllm.training.parameter_efficient.hooks import hook_call
from kerasllm.training.parameter_efficient.low_rank_product import low_rank_product
from kerasllm.training.parameter_efficient.matrices import (
    call_with_product,
    kernel_of,
    matrix_shape,
)


class LowRankUpdate(keras.layers.Layer):
    """Base of the updates `left() @ right()` of a target's kernel.

    Its weights are float32 whatever the target's dtype policy, and so is the sum before it is
    rounded to the compute dtype.

    Args:
        target: A layer of one of the `matrices.KINDS`.
        rank: Rank of the update, from 1 to the smaller side of the kernel.

    Raises:
        ValueError: If the rank is none of those.
    """

    def __init__(self, target, rank):
        # Without autocast the kernel, too, is read as it is stored.
        super().__init__(name=target.path.replace("/", "."), dtype="float32", autocast=False)
        self.input_dim, self.output_dim = matrix_shape(target)
        if not 1 <= rank <= min(self.input_dim, self.output_dim):
            raise ValueError(
                f"rank is {rank}; the kernel of {target.path} is {self.input_dim} x "
                f"{self.output_dim}, so expected 1 to {min(self.input_dim, self.output_dim)}."
            )
        self.rank = rank
        self.supports_masking = True
        self._target = lambda: target  # not tracked: its weights are not this layer's

    @property
    def target(self):
        return self._target()

    def left(self):
        """`(input_dim, rank)`, float32."""
        raise NotImplementedError

    def right(self):
        """`(rank, output_dim)`, float32."""
        raise NotImplementedError

    def call(self, inputs, bias=None):
        kernel = ops.reshape(kernel_of(self.target), (self.input_dim, self.output_dim))
        return low_rank_product(inputs, kernel, self.left(), self.right(), bias)

    def compute_output_shape(self, inputs_shape):
        return (*inputs_shape[:-1], self.output_dim)

    def merge(self):
        """Adds the update to the target's kernel."""
        kernel = kernel_of(self.target)
        update = ops.reshape(ops.matmul(self.left(), self.right()), kernel.shape)
        kernel.assign(kernel + ops.cast(update, kernel.dtype))

    def attach(self, attachment):
        """Hooks the target and takes note of it."""
        self.build()
        attachment.layers.append(self)
        attachment.unhooks.append(
            hook_call(self.target, lambda call: call_with_product(self.target, self))
        )
        attachment.merges = [*(attachment.merges or []), self.merge]
