"""The LSTM op: a whole layer over a whole sequence, forward and backward in one call each."""

import tensorflow as tf

from kerasllm_ops.loader import load, required_ops

# What the kernels take for activations and weights.
DTYPES = ("float32", "bfloat16")


def lstm(
    inputs,
    initial_hidden,
    initial_cell,
    kernel,
    recurrent_kernel,
    bias,
    mask=None,
    go_backwards=False,
    zero_output_for_mask=False,
    return_sequences=True,
    save_activations=False,
    name=None,
):
    """A whole LSTM layer over a sequence, gates in Keras's order (i, f, c, o).

    Each output step is `o * tanh(c)` with `c = f * c_before + i * g`; `i`, `f` and `o` are sigmoids
    and `g` the hyperbolic tangent of `inputs[:, t] @ kernel + hidden @ recurrent_kernel + bias`
    (Hochreiter and Schmidhuber, Long Short-Term Memory, 1997). Products and states are summed and
    carried in float32 whatever the dtype of the tensors.

    Args:
        inputs: float32, bfloat16 or, on a GPU, float16, `(batch, time, input_dim)`. All other
            tensors but `mask` have its dtype.
        initial_hidden: `(batch, units)`.
        initial_cell: `(batch, units)`.
        kernel: `(input_dim, 4 * units)`.
        recurrent_kernel: `(units, 4 * units)`.
        bias: `(4 * units,)`.
        mask: bool `(batch, time)`, false where a step is left out: both states are carried on.
        go_backwards: Go from the last step to the first; outputs are in the order of computation.
        zero_output_for_mask: The output of a masked step is zero. By default it repeats the step
            before it, and is zero before the first step that counts.
        return_sequences: Give every output, else the last one only.
        save_activations: Keep what the gradient needs. Set it in training; without it the gradient
            runs the forward pass a second time.
        name: The op's name.

    Returns:
        `(outputs, final_hidden, final_cell)`: `(batch, time, units)` (or `(batch, 1, units)`),
        `(batch, units)` and `(batch, units)`.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If shapes do not fit each other.
    """
    ops = required_ops("lstm")
    if mask is None:
        mask = tf.zeros((0, 0), tf.bool)
    outputs, final_hidden, final_cell, *_ = ops.kerasllm_lstm(
        inputs=inputs,
        initial_hidden=initial_hidden,
        initial_cell=initial_cell,
        kernel=kernel,
        recurrent_kernel=recurrent_kernel,
        bias=bias,
        mask=mask,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask,
        return_sequences=return_sequences,
        save_activations=save_activations,
        name=name,
    )
    return outputs, final_hidden, final_cell


def _gradient(op, d_outputs, d_final_hidden, d_final_cell, *_):
    """Gradients of KerasllmLstm by its seven inputs."""
    ops = load().ops
    *layer, bias, mask = op.inputs
    attributes = {
        name: op.get_attr(name)
        for name in ("go_backwards", "zero_output_for_mask", "return_sequences")
    }
    saved = op.outputs[3:]
    if not op.get_attr("save_activations"):
        saved = ops.kerasllm_lstm(*layer, bias, mask, save_activations=True, **attributes)[3:]
    gradients = ops.kerasllm_lstm_grad(
        *layer, mask, *saved, d_outputs, d_final_hidden, d_final_cell, **attributes
    )
    return [*gradients, None]


def _no_second_gradient(op, *_):
    raise NotImplementedError(
        "The fused LSTM has no second derivative. For one (a gradient penalty, a Hessian), switch "
        "the fused ops off with KERASLLM_NATIVE=0, which gives Keras's own differentiable loop."
    )


if load().ops is not None:
    tf.RegisterGradient("KerasllmLstm")(_gradient)
    tf.RegisterGradient("KerasllmLstmGrad")(_no_second_gradient)
