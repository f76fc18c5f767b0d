"""Prefix tuning."""

import dataclasses

import keras
from keras import ops

from kerasllm.layers.cached_multi_head_attention import CachedMultiHeadAttention
from kerasllm.training.fine_tune.stages import find_stages
from kerasllm.training.parameter_efficient.hooks import hook_call, hook_method
from kerasllm.training.parameter_efficient.method import Method, register


@register
@dataclasses.dataclass(frozen=True)
class PrefixTuning(Method):
    """Keys and values of its own in each attention, which every query sees before those of the
    text.

    They are learned as they are, without the network that the first paper makes them by, as in the
    second. It serves self-attention without a causal mask and without a cache: encoders.

    Source: Li and Liang, Prefix-Tuning: Optimizing Continuous Prompts for Generation, 2021; Liu,
    Ji, Fu, Tam, Du, Yang and Tang, P-Tuning v2, 2022.

    Args:
        length: Keys in each attention. 16 by default.
        stddev: Of the normal distribution that they begin with. 0.02 by default.
    """

    length: int = 16
    stddev: float = 0.02

    name = "prefix"
    learning_rate = 5e-3

    def attach(self, model, attachment):
        for block in find_stages(model).transformer_blocks:
            if not isinstance(getattr(block, "attention", None), CachedMultiHeadAttention):
                raise ValueError(f"{block.path} has no attention that takes a prefix.")
            self._attach_to(block.attention, attachment)

    def _attach_to(self, attention, attachment):
        prefix = Prefix(
            (self.length, attention.num_key_value_heads, attention.head_dim),
            self.stddev,
            dtype=attention.dtype_policy,
            name=attention.path.replace("/", "."),
        )
        prefix.build()
        attachment.layers.append(prefix)

        def wrap_keys_and_values(keys_and_values):
            def with_prefix(context, start_index=0):
                key, value = keys_and_values(context, start_index)
                return prefix.before(prefix.keys, key), prefix.before(prefix.values, value)

            return with_prefix

        def wrap_call(call):
            def with_mask(inputs, context_mask=None, causal=False, cache=None, **arguments):
                if causal or cache is not None or attention.sliding_window is not None:
                    raise ValueError(
                        "Prefix tuning serves attention over a whole text, not causal attention, a "
                        f"sliding window or a cache, as in {attention.path}."
                    )
                if context_mask is not None:
                    context_mask = extend_mask(context_mask, self.length)
                return call(inputs, context_mask=context_mask, **arguments)

            return with_mask

        unhook = hook_method(attention, "keys_and_values", wrap_keys_and_values)
        attachment.unhooks.append(unhook)
        attachment.unhooks.append(hook_call(attention, wrap_call))


class Prefix(keras.layers.Layer):
    """The keys and values of an attention."""

    def __init__(self, shape, stddev, **kwargs):
        super().__init__(**kwargs)
        self.shape, self.stddev = shape, stddev

    def build(self, input_shape=None):
        def weight(name):
            initializer = keras.initializers.RandomNormal(stddev=self.stddev)
            return self.add_weight(name=name, shape=self.shape, initializer=initializer)

        self.keys, self.values = weight("keys"), weight("values")
        self.built = True

    def before(self, weight, states):
        """A weight `(length, ...)` before states `(batch, time, ...)`."""
        rows = ops.broadcast_to(
            ops.cast(weight, states.dtype)[None], (ops.shape(states)[0], *weight.shape)
        )
        return ops.concatenate([rows, states], axis=1)


def extend_mask(mask, length):
    """A mask `(batch, time)` with `length` steps before it that count."""
    mask = ops.cast(mask, "bool")
    return ops.concatenate([ops.ones((ops.shape(mask)[0], length), "bool"), mask], axis=1)
