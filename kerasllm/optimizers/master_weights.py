"""float32 copies of bfloat16 variables, which the steps of an optimizer are taken on."""

import keras
from keras import ops

from kerasllm.ops.adamw import current_master


class MasterWeights:
    """Mixed in before an optimizer of Keras, it keeps master weights of bfloat16 variables.

    A bfloat16 number has 8 bits, so a step below 1/512 of a weight is lost by rounding; and a mean
    of which a thousandth is replaced in each step stands still. Here such a variable has a float32
    copy among the optimizer's variables, and the optimizer's other variables of it are float32 too:
    moments, moving averages, accumulated gradients. The steps are taken on the copy, and the
    variable is the copy rounded. Where it is not, somebody has assigned it, as loading weights or a
    constraint does, and the copy takes its value before the next step.

    Source: Micikevicius, Narang, Alben, Diamos, Elsen, Garcia, Ginsburg, Houston, Kuchaiev,
    Venkatesh and Wu, Mixed Precision Training, 2018.

    Args:
        master_weights: Whether bfloat16 variables get one.
        **kwargs: Those of the optimizer.
    """

    _state_dtype = None  # of the optimizer's variables that are being made, if not their own

    def __init__(self, *args, master_weights=True, **kwargs):
        super().__init__(*args, **kwargs)
        self.master_weights = master_weights
        self._masters = []
        # By the keys of variables: their places in it; and by the keys of masters, the indices of
        # their variables.
        self._master_places, self._master_indices = {}, {}

    def build(self, var_list):
        if self.built:
            return
        super().build(var_list)
        masters, places, indices = [], {}, {}
        for index, variable in enumerate(var_list):
            if self._has_master(variable) and not self._overwrite_variable_with_gradient(variable):
                masters.append(self._make_master(variable))
                places[self._var_key(variable)] = len(masters) - 1
                indices[self._var_key(masters[-1])] = index
        self._masters, self._master_places, self._master_indices = masters, places, indices

    def add_variable_from_reference(self, reference_variable, name=None, initializer="zeros"):
        if self._has_master(reference_variable):
            self._state_dtype = "float32"
        try:
            return super().add_variable_from_reference(reference_variable, name, initializer)
        finally:
            self._state_dtype = None

    def add_variable(self, shape, initializer="zeros", dtype=None, **kwargs):
        return super().add_variable(shape, initializer, self._state_dtype or dtype, **kwargs)

    def get_config(self):
        config = super().get_config()
        return config if self.master_weights else {**config, "master_weights": False}

    def masters_of(self, variables):
        """For each variable of the model its master weights, or None."""
        places = [self._master_places.get(self._var_key(variable)) for variable in variables]
        return [None if place is None else self._masters[place] for place in places]

    def owner(self, variable):
        """The variable of the model that master weights belong to; another variable itself."""
        if not self._master_indices:
            return variable
        index = self._master_indices.get(self._var_key(variable))
        return variable if index is None else self._trainable_variables[index]

    def refresh_masters(self, variables):
        """Has master weights take what was assigned to their variables."""
        self._assign_each(
            [(master, variable) for variable, master in self._with_masters(variables)],
            current_master,
        )

    def round_masters(self, variables):
        """Gives variables the rounded values of their master weights."""
        self._assign_each(
            self._with_masters(variables), lambda own, master: ops.cast(master, own.dtype)
        )

    def _has_master(self, variable):
        return self.master_weights and keras.backend.standardize_dtype(variable.dtype) == "bfloat16"

    def _make_master(self, variable):
        # Zeros, which are not what the variable is, so that the first step takes its value. To read
        # it here would keep XLA from compiling a step that makes the optimizer's variables.
        return self.add_variable_from_reference(variable, "master")

    def _with_masters(self, variables):
        pairs = zip(variables, self.masters_of(variables), strict=True)
        return [(variable, master) for variable, master in pairs if master is not None]

    def _assign_each(self, pairs, function):
        """Assigns `function(own, other)` to the first of each pair of variables."""
        if not pairs:
            return
        if keras.backend.backend() != "tensorflow":
            for own, other in pairs:
                own.assign(function(own.value, other.value))
            return
        import tensorflow as tf

        def update(strategy):
            for own, other in pairs:
                strategy.extended.update(
                    own.value,
                    lambda a, b: a.assign(function(tf.convert_to_tensor(a), b)),
                    args=(other.value,),
                    group=False,
                )

        tf.__internal__.distribute.interim.maybe_merge_call(update, self._distribution_strategy)

    def _get_variable_index(self, variable):
        index = self._master_indices.get(self._var_key(variable))
        return super()._get_variable_index(variable) if index is None else index

    def _use_weight_decay(self, variable):
        return super()._use_weight_decay(self.owner(variable))

    def _update_model_variables_moving_average(self, trainable_variables):
        super()._update_model_variables_moving_average(self._or_masters(trainable_variables))

    def _overwrite_model_variables_with_average_value(self, trainable_variables):
        masters = self._or_masters(trainable_variables)
        super()._overwrite_model_variables_with_average_value(masters)
        self.round_masters(trainable_variables)

    def _or_masters(self, variables):
        masters = self.masters_of(variables)
        return [v if m is None else m for v, m in zip(variables, masters, strict=True)]


def as_float32(gradient):
    """A gradient, a sparse one too, in float32."""
    if keras.backend.backend() != "tensorflow":
        return ops.cast(gradient, "float32")
    import tensorflow as tf

    return tf.cast(gradient, tf.float32)
