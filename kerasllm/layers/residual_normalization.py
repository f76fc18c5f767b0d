"""What LayerNormalization and RMSNormalization share: the fused op, residual and dropout."""

import keras

from kerasllm.ops.dispatch import served, why_not_served
from kerasllm.ops.dropout import dropout
from kerasllm.ops.layer_norm import layer_norm


class ResidualNormalization:
    """Mixed in before a Keras layer that normalises, it serves what the fused op serves.

    A subclass says with `op_arguments` what its layer normalises with.
    """

    def op_arguments(self):
        """`gamma`, `beta`, `epsilon` and `rms` for `kerasllm.ops.layer_norm`, or None where the
        layer's configuration asks for something else."""
        raise NotImplementedError

    def call(self, inputs, residual=None, dropout_rate=0.0, seed=None, return_sum=True):
        if (
            self.why_not_fused()
            or list(self.axis) not in ([-1], [len(inputs.shape) - 1])
            or not served("layer_norm", inputs.dtype)
            or (residual is not None and residual.dtype != inputs.dtype)
        ):
            return self._call_keras(inputs, residual, dropout_rate, seed, return_sum)
        result = layer_norm(
            inputs,
            residual=residual,
            dropout_rate=dropout_rate,
            seed=seed,
            return_sum=return_sum,
            **self.op_arguments(),
        )
        if residual is None or not return_sum:
            return keras.ops.cast(result, self.compute_dtype)
        return keras.ops.cast(result[0], self.compute_dtype), result[1]

    def why_not_fused(self):
        """Why Keras's own code runs, as a sentence; None where the op serves, if the axis is the
        last."""
        if self.op_arguments() is None:
            return "it has rms_scaling"
        if len(self.axis) > 1:
            return "it normalises several axes"
        return why_not_served("layer_norm", self.compute_dtype)

    def _call_keras(self, inputs, residual, dropout_rate, seed, return_sum):
        total = dropout(inputs, dropout_rate, seed)
        if residual is None:
            return super().call(total)
        total = keras.ops.add(residual, total)
        outputs = super().call(total)
        return (outputs, total) if return_sum else outputs

    def compute_output_spec(
        self, inputs, residual=None, dropout_rate=0.0, seed=None, return_sum=True
    ):
        outputs = super().compute_output_spec(inputs)
        if residual is None or not return_sum:
            return outputs
        dtype = keras.backend.result_type(inputs.dtype, residual.dtype)
        return outputs, keras.KerasTensor(inputs.shape, dtype=dtype)
