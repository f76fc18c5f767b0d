"""The config of a model whose arguments are its attributes."""

import inspect

import keras


class ModelConfig:
    """Mixed in before `keras.Model`, it makes the config by the arguments of the constructor.

    Each is an attribute of the same name, `dtype` the attribute `dtype_policy`; `**kwargs` are
    `name` and `trainable`. What `not_in_config` names is left out.
    """

    not_in_config = ()

    def get_config(self):
        config = {}
        for argument in inspect.signature(type(self).__init__).parameters:
            if argument == "dtype":
                config[argument] = keras.dtype_policies.serialize(self.dtype_policy)
            elif argument not in ("self", "kwargs", *self.not_in_config):
                config[argument] = keras.saving.serialize_keras_object(getattr(self, argument))
        return {**config, "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.dtype_policies.deserialize(config["dtype"])
        if isinstance(config.get("backbone"), dict):
            config["backbone"] = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**config)
