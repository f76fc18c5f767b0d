"""keras.optimizers.Adam and AdamW with the step over all variables in one op."""

import keras

from kerasllm.ops.adamw import adamw, served_parameter


class FusedStep:
    """What makes an Adam of Keras take its step in the fused op, where the op serves.

    The op also does the weight decay and the clipping by the global norm, for which Keras has
    methods of their own; during a step of the op these leave variables and gradients alone.
    """

    _fuses = False  # whether the step under way is the op's

    def _backend_apply_gradients(self, grads, trainable_variables):
        self._fuses = self._served(grads, trainable_variables)
        try:
            super()._backend_apply_gradients(grads, trainable_variables)
        finally:
            self._fuses = False

    def _clip_gradients(self, grads):
        if self._fuses and self.global_clipnorm:
            return grads
        return super()._clip_gradients(grads)

    def _apply_weight_decay(self, variables):
        if not self._fuses:
            super()._apply_weight_decay(variables)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if self._fuses:
            self._fused_update_step(grads, trainable_variables, learning_rate)
        else:
            super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _served(self, grads, variables):
        """Whether the op computes what this configuration asks for."""
        numbers = (self.beta_1, self.beta_2, self.epsilon, self.weight_decay or 0.0)
        if self.amsgrad or not all(isinstance(number, (int, float)) for number in numbers):
            return False
        if not all(isinstance(v, keras.Variable) and served_parameter(v) for v in variables):
            return False
        import tensorflow as tf

        if tf.distribute.has_strategy():
            return False
        return all(isinstance(g, tf.Tensor) and g.dtype in (tf.float32, tf.bfloat16) for g in grads)

    def _fused_update_step(self, grads, variables, learning_rate):
        indices = [self._get_variable_index(variable) for variable in variables]
        weight_decay = self.weight_decay or 0.0
        adamw(
            variables,
            [self._momentums[index] for index in indices],
            [self._velocities[index] for index in indices],
            grads,
            learning_rate,
            self.iterations + 1,
            self.beta_1,
            self.beta_2,
            self.epsilon,
            weight_decay,
            [bool(weight_decay) and self._use_weight_decay(variable) for variable in variables],
            self.global_clipnorm or 0.0,
        )


@keras.saving.register_keras_serializable(package="kerasllm")
class Adam(FusedStep, keras.optimizers.Adam):
    """`keras.optimizers.Adam` with the step over all variables in one op.

    Constructor, config, variables, saved states and results are those of `keras.optimizers.Adam`;
    states go both ways. The op serves float32 variables on one device, with every schedule,
    clipping, weight decay, moving average, accumulation of gradients and loss scaling that Keras
    has. `amsgrad`, variables of other dtypes, sparse gradients (those of `keras.layers.Embedding`;
    `kerasllm.layers.Embedding` gives dense ones) and `tf.distribute` strategies take Keras's own
    path.

    Examples:

    >>> model.compile(optimizer=kerasllm.optimizers.Adam(1e-3), loss="mse")

    Args:
        learning_rate: A float, a schedule or a function without arguments. 0.001 by default.
        beta_1: A float, how much of the mean of gradients stays. 0.9 by default.
        beta_2: A float, how much of the mean of their squares stays. 0.999 by default.
        epsilon: A float, added to the root of the latter. 1e-7 by default.
        amsgrad: Whether to divide by the largest mean of squares so far.
        **kwargs: Every other argument of `keras.optimizers.Adam`.
    """


@keras.saving.register_keras_serializable(package="kerasllm")
class AdamW(FusedStep, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with the step over all variables in one op.

    See `kerasllm.optimizers.Adam`; here weight decay is on, and `exclude_from_weight_decay` names
    variables that it leaves alone.

    Args:
        learning_rate: A float, a schedule or a function without arguments. 0.001 by default.
        weight_decay: A float, the share by which the learning rate shrinks weights. 0.004 by
            default.
        **kwargs: Every other argument of `keras.optimizers.AdamW`.
    """
