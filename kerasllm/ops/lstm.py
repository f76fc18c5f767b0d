"""A whole LSTM layer over a sequence, on any backend."""

from keras import ops

from kerasllm.ops.dispatch import served


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
    training=False,
):
    """A whole LSTM layer over a sequence, gates in Keras's order (i, f, c, o).

    On TensorFlow, in float32 and bfloat16, one fused op, `kerasllm_ops.lstm`, whose docstring has
    the equations; elsewhere a loop in keras.ops.

    Args:
        inputs: `(batch, time, input_dim)`.
        initial_hidden: `(batch, units)`.
        initial_cell: `(batch, units)`.
        kernel: `(input_dim, 4 * units)`.
        recurrent_kernel: `(units, 4 * units)`.
        bias: `(4 * units,)`.
        mask: bool `(batch, time)`, false where a step is left out; or None.
        go_backwards: Go from the last step to the first; outputs in the order of computation.
        zero_output_for_mask: The output of a masked step is zero; else it repeats the one before.
        return_sequences: Give every output, else the last one only.
        training: Whether a gradient will be asked for; without it a gradient costs a second pass.

    Returns:
        `(outputs, final_hidden, final_cell)`: `(batch, time, units)` (or `(batch, 1, units)`),
        `(batch, units)` and `(batch, units)`.
    """
    layer = (inputs, initial_hidden, initial_cell, kernel, recurrent_kernel, bias)
    options = {
        "mask": mask,
        "go_backwards": go_backwards,
        "zero_output_for_mask": zero_output_for_mask,
        "return_sequences": return_sequences,
    }
    if served("lstm", inputs.dtype):
        from kerasllm_ops.lstm import lstm as fused

        return fused(*layer, **options, save_activations=bool(training))
    return composed_lstm(*layer, **options)


def composed_lstm(
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
):
    """`lstm` in keras.ops, in the dtype of its inputs; the arguments and results are the same."""
    gates = ops.matmul(inputs, kernel) + bias
    # (time, batch, ...): what scan goes over.
    steps = [ops.transpose(gates, (1, 0, 2))]
    if mask is not None:
        steps.append(ops.transpose(ops.expand_dims(mask, -1), (1, 0, 2)))
    if go_backwards:
        steps = [ops.flip(tensor, axis=0) for tensor in steps]

    def step(state, step_inputs):
        hidden, cell, output = ops.split(state, 3, axis=-1)
        z = step_inputs[0] + ops.matmul(hidden, recurrent_kernel)
        i, f, g, o = ops.split(z, 4, axis=-1)
        new_cell = ops.sigmoid(f) * cell + ops.sigmoid(i) * ops.tanh(g)
        new_hidden = ops.sigmoid(o) * ops.tanh(new_cell)
        new_output = new_hidden
        if mask is not None:
            active = step_inputs[1]
            repeated = ops.zeros_like(output) if zero_output_for_mask else output
            new_output = ops.where(active, new_hidden, repeated)
            new_hidden = ops.where(active, new_hidden, hidden)
            new_cell = ops.where(active, new_cell, cell)
        state = ops.concatenate([new_hidden, new_cell, new_output], axis=-1)
        return state, state

    # On TensorFlow scan wants the results of a step in the structure and shape of the state.
    first = [initial_hidden, initial_cell, ops.zeros_like(initial_hidden)]
    last, states = ops.scan(step, ops.concatenate(first, axis=-1), steps)
    hidden, cell, output = ops.split(last, 3, axis=-1)
    if return_sequences:
        outputs = ops.split(states, 3, axis=-1)[2]
        return ops.transpose(outputs, (1, 0, 2)), hidden, cell
    return ops.expand_dims(output, axis=1), hidden, cell
