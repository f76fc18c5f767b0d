"""keras.optimizers.Adam and AdamW with the step over all variables in one op."""

import operator

import keras

from kerasllm.ops.adamw import adamw, served_parameter
from kerasllm.optimizers.master_weights import MasterWeights, as_float32


class FusedStep(MasterWeights):
    """What makes an Adam of Keras take its step in the fused op, where the op serves.

    The op also does the weight decay and the clipping by the global norm, for which Keras has
    methods of their own; during a step of the op these leave variables and gradients alone.

    Args:
        learning_rate_multipliers: See `Adam`.
        no_weight_decay: See `Adam`.
        **kwargs: Those of the optimizer of Keras.
    """

    _fuses = False  # whether the step under way is the op's
    _factor = 1.0  # of the learning rate, while Keras's own weight decay is at a variable

    def __init__(self, *args, learning_rate_multipliers=None, no_weight_decay=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.learning_rate_multipliers = dict(learning_rate_multipliers or {})
        for path, multiplier in self.learning_rate_multipliers.items():
            if not multiplier >= 0:
                raise ValueError(f"The multiplier of {path!r} is {multiplier}; expected 0 or more.")
        self.no_weight_decay = list(no_weight_decay or [])
        if self.no_weight_decay:
            self.exclude_from_weight_decay(var_names=self.no_weight_decay)

    def learning_rate_multiplier(self, variable):
        """What the learning rate of a variable is multiplied by: that of the longest path in
        `learning_rate_multipliers` that its own path begins with, else 1."""
        if not self.learning_rate_multipliers:
            return 1.0
        variable = self.owner(variable)
        if not hasattr(variable, "path"):  # TensorFlow's own, of a Keras variable
            variable = self._trainable_variables[self._get_variable_index(variable)]
        path = variable.path
        while path not in self.learning_rate_multipliers:
            path, separator, _ = path.rpartition("/")
            if not separator:
                return 1.0
        return float(self.learning_rate_multipliers[path])

    def get_config(self):
        config = super().get_config()
        if self.learning_rate_multipliers:
            config["learning_rate_multipliers"] = self.learning_rate_multipliers
        if self.no_weight_decay:
            config["no_weight_decay"] = self.no_weight_decay
        return config

    def _backend_apply_gradients(self, grads, trainable_variables):
        stepped = self._or_masters(trainable_variables)
        self._fuses = self._served(grads, stepped)
        has_masters = any(map(operator.is_not, stepped, trainable_variables))
        if has_masters and (not self._fuses or self._changes_gradients()):
            grads = [
                grad if own is variable else as_float32(grad)
                for grad, own, variable in zip(grads, stepped, trainable_variables, strict=True)
            ]
        if has_masters and (not self._fuses or self.use_ema):
            # Before the step: behind it, variables that are not rounded yet look assigned.
            self.refresh_masters(self._trainable_variables)
        try:
            if self._fuses or not has_masters:
                super()._backend_apply_gradients(grads, trainable_variables)
            else:
                super()._backend_apply_gradients(grads, stepped)
                self.round_masters(trainable_variables)
        finally:
            self._fuses = False

    def _changes_gradients(self):
        """Whether gradients are summed or clipped before the op has them."""
        return bool(self.gradient_accumulation_steps or self.clipnorm or self.clipvalue)

    def _clip_gradients(self, grads):
        if self._fuses and self.global_clipnorm:
            return grads
        return super()._clip_gradients(grads)

    def _apply_weight_decay(self, variables):
        if self._fuses:
            return
        if not self.learning_rate_multipliers:
            super()._apply_weight_decay(variables)
            return
        try:
            for variable in variables:
                self._factor = self.learning_rate_multiplier(variable)
                super()._apply_weight_decay([variable])
        finally:
            self._factor = 1.0

    def _get_current_learning_rate(self):
        rate = super()._get_current_learning_rate()
        return rate if self._factor == 1 else rate * self._factor

    def update_step(self, gradient, variable, learning_rate):
        multiplier = self.learning_rate_multiplier(variable)
        if multiplier != 1:
            learning_rate = learning_rate * multiplier
        super().update_step(gradient, variable, learning_rate)

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
        stepped = self._or_masters(variables)
        adamw(
            stepped,
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
            [self.learning_rate_multiplier(variable) for variable in variables],
            [None if own is v else v for own, v in zip(stepped, variables, strict=True)],
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

    bfloat16 variables, those of models with the dtype policy `"bfloat16"`, have float32 master
    weights and moments, which Keras's do not have: alone in bfloat16 small steps are lost by
    rounding, and training stalls. The op serves them too. `master_weights=False` gives what Keras
    computes, and its states, at half the memory.

    Examples:

    >>> model.compile(optimizer=kerasllm.optimizers.Adam(1e-3), loss="mse")

    Three arguments are beyond Keras's; they are saved with the model.

    Args:
        learning_rate: A float, a schedule or a function without arguments. 0.001 by default.
        beta_1: A float, how much of the mean of gradients stays. 0.9 by default.
        beta_2: A float, how much of the mean of their squares stays. 0.999 by default.
        epsilon: A float, added to the root of the latter. 1e-7 by default.
        amsgrad: Whether to divide by the largest mean of squares so far.
        learning_rate_multipliers: A dict from the begin of variables' paths, such as `"block_0"` or
            `"block_0/attention"`, to what their learning rate, and with it their weight decay, is
            multiplied by, 0 or more. The longest path that fits a variable holds.
        no_weight_decay: A list of regular expressions; weight decay leaves alone the variables in
            whose names one is found, such as `"bias"`.
        **kwargs: Every other argument of `keras.optimizers.Adam`.
    """


@keras.saving.register_keras_serializable(package="kerasllm")
class AdamW(FusedStep, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with the step over all variables in one op.

    See `kerasllm.optimizers.Adam`; here weight decay is on.

    Args:
        learning_rate: A float, a schedule or a function without arguments. 0.001 by default.
        weight_decay: A float, the share by which the learning rate shrinks weights. 0.004 by
            default.
        **kwargs: Every other argument of `keras.optimizers.AdamW`.
    """
