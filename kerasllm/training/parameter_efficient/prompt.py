"""Prompt tuning."""

import dataclasses

import keras
from keras import ops

from kerasllm.layers import TransformerEncoderBlock
from kerasllm.training.fine_tune.stages import find_stages
from kerasllm.training.parameter_efficient.hooks import hook_call
from kerasllm.training.parameter_efficient.method import Method, register
from kerasllm.training.parameter_efficient.prefix import extend_mask


@register
@dataclasses.dataclass(frozen=True)
class PromptTuning(Method):
    """Learned vectors before the embedded text.

    They enter the first block with the tokens' states and are taken out behind the last, so that
    positions, pooling and the head see the text alone. It serves rows of
    `kerasllm.layers.TransformerEncoderBlock`.

    Source: Lester, Al-Rfou and Constant, The Power of Scale for Parameter-Efficient Prompt Tuning,
    2021.

    Args:
        length: Number of vectors. 20 by default.
        limit: They begin uniformly distributed from `-limit` to it. 0.5 by default.
    """

    length: int = 20
    limit: float = 0.5

    name = "prompt"
    learning_rate = 1e-2

    def attach(self, model, attachment):
        blocks = find_stages(model).transformer_blocks
        for block in blocks:
            if not isinstance(block, TransformerEncoderBlock):
                raise ValueError(f"{block.path} is no TransformerEncoderBlock.")
            if len(block._inbound_nodes) > 1:
                raise ValueError(
                    f"{block.path} is used several times in a pass; prompt tuning needs a block "
                    "for each layer."
                )
        first, last = blocks[0], blocks[-1]
        dim = first.output_dense.units
        prompt = Prompt((self.length, dim), self.limit, dtype=first.dtype_policy, name="prompt")
        prompt.build()
        attachment.layers.append(prompt)
        for block in blocks:
            wrap = self._make_wrap(prompt, block is first, block is last)
            attachment.unhooks.append(hook_call(block, wrap))

    def _make_wrap(self, prompt, is_first, is_last):
        def wrap(call):
            def with_prompt(inputs, mask=None, **arguments):
                if is_first:
                    inputs = prompt.before(inputs)
                if mask is not None:
                    mask = extend_mask(mask, self.length)
                states = call(inputs, mask=mask, **arguments)
                return states[:, self.length :] if is_last else states

            return with_prompt

        return wrap


class Prompt(keras.layers.Layer):
    """The vectors."""

    def __init__(self, shape, limit, **kwargs):
        super().__init__(**kwargs)
        self.shape, self.limit = shape, limit

    def build(self, input_shape=None):
        initializer = keras.initializers.RandomUniform(-self.limit, self.limit)
        self.vectors = self.add_weight(name="vectors", shape=self.shape, initializer=initializer)
        self.built = True

    def before(self, states):
        """The vectors before states `(batch, time, dim)`."""
        vectors = ops.cast(self.vectors, states.dtype)[None]
        vectors = ops.broadcast_to(vectors, (ops.shape(states)[0], *self.shape))
        return ops.concatenate([vectors, states], axis=1)
