"""keras.layers.LSTM on the fused LSTM op."""

import keras
from keras import ops

from kerasllm import native
from kerasllm.ops.dispatch import why_not_served
from kerasllm.ops.lstm import lstm


@keras.saving.register_keras_serializable(package="kerasllm")
class LSTM(keras.layers.LSTM):
    """Long Short-Term Memory layer: `keras.layers.LSTM` with the whole sequence in one fused op.

    Constructor, call arguments, weights and results are those of `keras.layers.LSTM`, and weights
    go both ways. The op serves tanh with sigmoid in float32 and bfloat16, with any mask, initial
    states, `stateful`, `go_backwards` and `dropout`. The rest (other activations,
    `recurrent_dropout` in training, `implementation=1` with dropout in training, float16 on the CPU
    and float64, `use_cudnn=True`) runs Keras's own loop. On a GPU `use_cudnn="auto"`, the default,
    leaves the layer to Keras, which has cuDNN's; `use_cudnn=False` takes the op, also under
    `jit_compile`.

    Under `mixed_bfloat16` the op sums products and carries the cell state in float32.

    Examples:

    >>> layer = kerasllm.layers.LSTM(128, return_sequences=True)
    >>> layer(np.random.rand(32, 10, 8)).shape
    TensorShape([32, 10, 128])

    Args:
        units: Positive integer, the size of the state.
        **kwargs: Every other argument of `keras.layers.LSTM`.

    Call arguments:
        sequences: `(batch, time, input_dim)`.
        initial_state: Two tensors `(batch, units)`, the hidden and the cell state; zeros by
            default.
        mask: bool `(batch, time)`, false where a step is left out.
        training: Whether dropout is on.

    Returns:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences`; with `return_state` a
        tuple of that and the final hidden and cell state, `(batch, units)` each.
    """

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if training and self.cell.dropout and self.cell.implementation == 1:
            # A dropout mask for each gate, which Keras's attempt at cuDNN trips over.
            return keras.layers.RNN.inner_loop(
                self, sequences, initial_state, mask, training=training
            )
        if not self._fused(training):
            return super().inner_loop(sequences, initial_state, mask, training=training)
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        cell = self.cell
        if training and cell.dropout:
            # One mask for all steps, (batch, input_dim).
            dropout_mask = cell.get_dropout_mask(sequences[:, 0, :])
            sequences = sequences * ops.expand_dims(dropout_mask, axis=1)
        outputs, hidden, cell_state = lstm(
            ops.convert_to_tensor(sequences, dtype=self.compute_dtype),
            initial_state[0],
            initial_state[1],
            ops.convert_to_tensor(cell.kernel),
            ops.convert_to_tensor(cell.recurrent_kernel),
            ops.convert_to_tensor(cell.bias) if cell.use_bias else self._zero_bias(),
            mask=None if mask is None else ops.cast(mask, "bool"),
            go_backwards=self.go_backwards,
            zero_output_for_mask=self.zero_output_for_mask,
            return_sequences=self.return_sequences,
            training=training,
        )
        return outputs[:, -1], outputs, [hidden, cell_state]

    def _zero_bias(self):
        return ops.zeros((4 * self.units,), dtype=self.compute_dtype)

    def _fused(self, training):
        """Whether the op computes what this configuration asks for."""
        return not self.why_not_fused() and not (training and self.cell.recurrent_dropout)

    def why_not_fused(self):
        """Why Keras's own loop runs, as a sentence; None where the op serves."""
        cell = self.cell
        if cell.activation is not keras.activations.tanh:
            return "its activation is not tanh"
        if cell.recurrent_activation is not keras.activations.sigmoid:
            return "its recurrent_activation is not sigmoid"
        if self.use_cudnn is True:
            return "use_cudnn is True"
        if self.use_cudnn == "auto" and native.has_gpu():
            return "there is a GPU, for which Keras has cuDNN's (use_cudnn=False takes the op)"
        return why_not_served("lstm", self.compute_dtype)
