"""The AdamW op: a step over all parameters of a model in one call, in place."""

import tensorflow as tf

from kerasllm_ops.loader import load, required_ops


def adamw(
    parameters,
    momentums,
    velocities,
    gradients,
    learning_rate,
    alpha,
    momentum_rate,
    velocity_rate,
    epsilon,
    weight_decay=0.0,
    decays=None,
    global_clipnorm=0.0,
    multipliers=None,
    rounded=None,
    name=None,
):
    """One step of Adam with decoupled weight decay over all parameters, in place.

    Adam (Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015), the decay by Loshchilov
    and Hutter (Decoupled Weight Decay Regularization, 2019). For each element, each operation
    rounded by itself::

        gradient *= min(1, global_clipnorm / norm of all gradients)
        learning_rate, alpha *= multiplier
        parameter -= parameter * weight_decay * learning_rate
        momentum += (gradient - momentum) * momentum_rate
        velocity += (gradient**2 - velocity) * velocity_rate
        parameter -= momentum * alpha / (sqrt(velocity) + epsilon)

    A parameter may be the master weights of a bfloat16 variable (Micikevicius et al., Mixed
    Precision Training, 2018): the variable gets the parameter rounded. Where it is not what the
    parameter rounds to, somebody has assigned it, and the parameter takes its value before the
    step.

    Args:
        parameters: List of float32 `tf.Variable`s.
        momentums: List of float32 `tf.Variable`s of the same shapes.
        velocities: List of float32 `tf.Variable`s of the same shapes.
        gradients: List of float32 or bfloat16 tensors of the same shapes; on a GPU float16 ones
            too, but not beside bfloat16 ones.
        learning_rate: float32 scalar tensor.
        alpha: float32 scalar tensor: the learning rate after bias correction,
            `learning_rate * sqrt(1 - beta_2**step) / (1 - beta_1**step)`.
        momentum_rate: A float, `1 - beta_1`.
        velocity_rate: A float, `1 - beta_2`.
        epsilon: A float.
        weight_decay: A float, 0 for none.
        decays: List of bools, whether weight decay applies to each parameter. All by default.
        global_clipnorm: A float, 0 for no clipping.
        multipliers: List of floats, what the learning rate of each parameter is multiplied by. 1
            by default.
        rounded: List of bfloat16 `tf.Variable`s of the same shapes, each with None in the place of
            parameters that are no master weights. No parameters are, by default.
        name: The op's name.

    Raises:
        RuntimeError: If the native library is not there.
        InvalidArgumentError: If shapes do not fit each other, or a variable is given twice.
    """
    return required_ops("adamw").kerasllm_adamw(
        parameters=[variable.handle for variable in parameters],
        momentums=[variable.handle for variable in momentums],
        velocities=[variable.handle for variable in velocities],
        gradients=gradients,
        learning_rate=learning_rate,
        alpha=alpha,
        momentum_rate=momentum_rate,
        velocity_rate=velocity_rate,
        epsilon=epsilon,
        weight_decay=weight_decay,
        decays=[True] * len(parameters) if decays is None else decays,
        global_clipnorm=global_clipnorm,
        multipliers=[] if multipliers is None else multipliers,
        rounded=[variable.handle for variable in rounded or [] if variable is not None],
        masters=[i for i, variable in enumerate(rounded or []) if variable is not None],
        name=name,
    )


if load().ops is not None:
    tf.no_gradient("KerasllmAdamw")
