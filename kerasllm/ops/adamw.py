"""A step of Adam with decoupled weight decay, on any backend."""

from keras import ops

from kerasllm.ops.dispatch import served


def adamw(
    parameters,
    momentums,
    velocities,
    gradients,
    learning_rate,
    step,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-7,
    weight_decay=0.0,
    decays=None,
    global_clipnorm=0.0,
    multipliers=None,
    rounded=None,
):
    """One step of Adam over all parameters of a model, in place.

    On TensorFlow, with float32 variables, one fused op, `kerasllm_ops.adamw`, whose docstring has
    the equations; elsewhere keras.ops. Each operation is rounded as in `keras.optimizers.AdamW`.

    Args:
        parameters: List of `keras.Variable`s.
        momentums: List of `keras.Variable`s of the same shapes and dtypes.
        velocities: List of `keras.Variable`s of the same shapes and dtypes.
        gradients: List of tensors of the same shapes.
        learning_rate: A float or a scalar tensor.
        step: The number of this step, from 1; an int or a scalar tensor.
        beta_1: A float, how much of the momentum stays.
        beta_2: A float, how much of the velocity stays.
        epsilon: A float, added to the root of the velocity.
        weight_decay: A float, 0 for none.
        decays: List of bools, whether weight decay applies to each parameter. All by default.
        global_clipnorm: A float, what the norm of all gradients together is clipped to; 0 for no
            clipping.
        multipliers: List of floats, what the learning rate of each parameter is multiplied by. 1
            by default.
        rounded: List of the bfloat16 `keras.Variable`s whose float32 master weights the parameters
            are, with None for those that are no master weights. Each gets the parameter rounded;
            see `current_master` for one that was assigned in between. None by default.
    """
    if rounded is None:
        rounded = [None] * len(parameters)
    settings = {
        "weight_decay": weight_decay,
        "decays": decays,
        "global_clipnorm": global_clipnorm,
        "multipliers": multipliers,
    }
    if all(served_parameter(variable) for variable in parameters):
        from kerasllm_ops.adamw import adamw as fused

        learning_rate = ops.cast(learning_rate, "float32")
        fused(
            *(
                [variable.value for variable in group]
                for group in (parameters, momentums, velocities)
            ),
            [ops.convert_to_tensor(gradient) for gradient in gradients],
            learning_rate,
            corrected_learning_rate(learning_rate, step, beta_1, beta_2, "float32"),
            momentum_rate=1 - beta_1,
            velocity_rate=1 - beta_2,
            epsilon=epsilon,
            rounded=[None if variable is None else variable.value for variable in rounded],
            **settings,
        )
        return
    results = composed_adamw(
        [
            variable.value if own is None else current_master(variable.value, own.value)
            for variable, own in zip(parameters, rounded, strict=True)
        ],
        [variable.value for variable in momentums],
        [variable.value for variable in velocities],
        gradients,
        learning_rate,
        step,
        beta_1,
        beta_2,
        epsilon,
        **settings,
    )
    for variables, values in zip((parameters, momentums, velocities), results, strict=True):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    for variable, value in zip(rounded, results[0], strict=True):
        if variable is not None:
            variable.assign(ops.cast(value, variable.dtype))


def current_master(master, rounded):
    """Master weights as they are for the next step.

    Args:
        master: A tensor, the master weights as the last step left them.
        rounded: A tensor of fewer bits, the variable that they are of.

    Returns:
        `master`; but where `rounded` is not what it rounds to, somebody has assigned that, and it
        counts.
    """
    same = ops.equal(ops.cast(master, rounded.dtype), rounded)
    return ops.where(same, master, ops.cast(rounded, master.dtype))


def served_parameter(variable):
    """Whether the fused op updates this variable."""
    return variable.dtype == "float32" and served("adamw", variable.dtype)


def corrected_learning_rate(learning_rate, step, beta_1, beta_2, dtype):
    """The learning rate after Adam's bias correction, a scalar."""
    step = ops.cast(step, dtype)
    # Not cast, which would take a Python float by way of float32.
    beta_1_power = ops.power(ops.convert_to_tensor(beta_1, dtype), step)
    beta_2_power = ops.power(ops.convert_to_tensor(beta_2, dtype), step)
    return (
        ops.convert_to_tensor(learning_rate, dtype)
        * ops.sqrt(1 - beta_2_power)
        / (1 - beta_1_power)
    )


def composed_adamw(
    parameters,
    momentums,
    velocities,
    gradients,
    learning_rate,
    step,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-7,
    weight_decay=0.0,
    decays=None,
    global_clipnorm=0.0,
    multipliers=None,
):
    """`adamw` in keras.ops, on tensors, in the dtype of each parameter.

    Returns:
        `(parameters, momentums, velocities)`, lists of new values.
    """
    if decays is None:
        decays = [True] * len(parameters)
    if multipliers is None:
        multipliers = [1.0] * len(parameters)
    if global_clipnorm:
        squares = [ops.sum(ops.square(gradient)) for gradient in gradients]
        norm = ops.sqrt(ops.sum(ops.stack(squares)))
        # norm - norm is NaN where the norm is no finite number.
        factor = global_clipnorm * ops.minimum(1 / norm, 1 / global_clipnorm) + (norm - norm)
        gradients = [gradient * factor for gradient in gradients]
    results = []
    groups = zip(parameters, momentums, velocities, gradients, decays, multipliers, strict=True)
    for parameter, m, v, gradient, decay, multiplier in groups:
        dtype = parameter.dtype
        rate = ops.convert_to_tensor(learning_rate, dtype) * multiplier
        alpha = corrected_learning_rate(learning_rate, step, beta_1, beta_2, dtype) * multiplier
        gradient = ops.cast(gradient, dtype)
        if weight_decay and decay:
            parameter = parameter - parameter * weight_decay * rate
        m = m + (gradient - m) * (1 - beta_1)
        v = v + (ops.square(gradient) - v) * (1 - beta_2)
        parameter = parameter - m * alpha / (ops.sqrt(v) + epsilon)
        results.append((parameter, m, v))
    return tuple(list(values) for values in zip(*results, strict=True))
