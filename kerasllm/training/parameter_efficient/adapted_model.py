"""A pretrained model with a parameter-efficient method on it."""

import keras

from kerasllm.training.fine_tune.stages import find_stages
from kerasllm.training.parameter_efficient.method import Attachment, Method, make_method


@keras.saving.register_keras_serializable(package="kerasllm")
class AdaptedModel(keras.Model):
    """A model most of whose weights are frozen: what trains is the method's part and the head.

    It is called, compiled, fitted and saved as the model itself would be; a `.keras` file holds
    both. The model's weights stay where they are, unchanged and in layers of their own names; the
    method changes what its layers compute, until `detach` or `merge`.

    Examples:

    >>> adapted = AdaptedModel(model, LoRA(rank=8))
    >>> print(count_parameters(adapted))
    887,042 of 102,564,098 parameters train (0.86%)
    >>> fine_tune.fit(adapted, batches, learning_rate=5e-4)
    >>> save_adapter(adapted, "adapter.weights.h5")
    >>> model = adapted.merge()

    Args:
        base: A built Keras model.
        method: A `LoRA`, or another method of `kerasllm.training.parameter_efficient`.
        head: A list of names of layers that train as a whole; by default all behind the last
            transformer block, which in a BERT is the pooler and the classifier.
        **kwargs: `name` and `trainable` of `keras.Model`.

    Call arguments:
        inputs: Those of `base`.

    Returns:
        What `base` returns.

    Raises:
        ValueError: If `base` is adapted already, or the method finds nothing in it.
    """

    def __init__(self, base, method, head=None, **kwargs):
        if not isinstance(method, Method):
            raise ValueError(f"method is {method!r}; expected a LoRA() or the like.")
        if isinstance(base, AdaptedModel):
            raise ValueError("base is an adapted model; merge or detach it first.")
        super().__init__(**{"name": f"{base.name}_{method.name}", **kwargs})
        head_layers = _head_layers(base, head)
        attachment = Attachment()
        try:
            method.attach(base, attachment)
        except BaseException:
            _undo(base, attachment, {})
            raise
        head_ids = {id(v) for layer in head_layers for v in layer.trainable_variables}
        self.base, self.method = base, method
        self.head = None if head is None else list(head)
        self.adapters = attachment.layers
        # In an object that Keras does not look into.
        self._before = {v.path: v.trainable for v in base.weights}
        self._attachment = [lambda: attachment]
        for variable in base.trainable_variables:
            variable.trainable = id(variable) in attachment.trained | head_ids
        _forget_compiled_functions(base)
        self.dtype_policy = base.dtype_policy  # what compile scales the loss by
        self.built = True

    def call(self, inputs, training=None):
        return self.base(inputs, training=training)

    def compute_output_shape(self, *arguments, **options):
        return self.base.compute_output_shape(*arguments, **options)

    @property
    def inputs(self):
        return self.base.inputs

    @property
    def outputs(self):
        return self.base.outputs

    @property
    def input_shape(self):
        return self.base.input_shape

    @property
    def output_shape(self):
        return self.base.output_shape

    @property
    def merges(self):
        """Whether `merge` can write the method's part into the base."""
        return self._attachment[0]().merges is not None

    def make_callbacks(self, train_steps):
        """The callbacks that the method needs in a training of so many batches."""
        return self.method.make_callbacks(train_steps)

    def detach(self):
        """Takes the method off: the base with the head as it is now, computing without it.

        Returns:
            The base, all of it trainable as it was before. This model is of no use then.
        """
        _undo(self.base, self._attachment[0](), self._before)
        return self.base

    def merge(self):
        """Writes the method's part into the weights of the base, and takes the method off.

        Returns:
            The base, which computes what this model did: the sums are those that were made in every
            call. This model is of no use then.

        Raises:
            ValueError: If the method's part is no change of weights.
        """
        if not self.merges:
            raise ValueError(
                f"{type(self.method).__name__} computes what no weights of the base can; there is "
                "nothing to merge it into."
            )
        for merge in self._attachment[0]().merges:
            merge()
        return self.detach()

    def get_config(self):
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "method": self.method.get_config(),
            "head": None if self.head is None else list(self.head),
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        base = keras.saving.deserialize_keras_object(config.pop("base"))
        return cls(base, make_method(**config.pop("method")), **config)


def _head_layers(base, head):
    if head is None:
        return find_stages(base).head
    layers = list(base._flatten_layers(include_self=False))
    found = [layer for layer in layers if layer.name in head or layer.path in head]
    missing = [name for name in head if not any(name in (x.name, x.path) for x in found)]
    if missing:
        raise ValueError(f"{base.name} has no layers {', '.join(missing)}.")
    return found


def _undo(base, attachment, trainable):
    for unhook in attachment.unhooks:
        unhook()
    attachment.unhooks.clear()
    for variable in base.weights:
        if variable.path in trainable:
            variable.trainable = trainable[variable.path]
    _forget_compiled_functions(base)


def _forget_compiled_functions(model):
    """Compiled functions hold the computation of the layers as they were."""
    for name in ("train_function", "test_function", "predict_function"):
        setattr(model, name, None)
