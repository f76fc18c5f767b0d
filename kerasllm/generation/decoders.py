"""A language model made ready to go on token by token."""

import keras
import numpy as np
from keras import ops

from kerasllm.generation.sampling import choose_by_form
from kerasllm.layers import KeyValueCache
from kerasllm.models.causal_lm import CausalLM
from kerasllm.models.lstm_lm import LSTMLM
from kerasllm.ops.decoding import decoding

# What a text that has ended gives from then on.
ENDED = -1
# Compiled loops that a decoder keeps, one for each form of sampling.
_MOST_LOOPS = 8


def make_decoder(model, batch_size, max_length):
    """The decoder of a model.

    Args:
        model: A `CausalLM` or an `LSTMLM`.
        batch_size: Number of texts.
        max_length: Tokens of the longest of them, the prompt among them.

    Raises:
        TypeError: If there is no decoder for such a model.
    """
    for model_class, decoder_class in _DECODERS.items():
        if isinstance(model, model_class):
            return decoder_class(model, batch_size, max_length)
    expected = " or a ".join(model_class.__name__ for model_class in _DECODERS)
    raise TypeError(f"The model is a {type(model).__name__}; expected a {expected}.")


class Decoder:
    """Base of the decoders: `prefill` takes the prompts, then `step` one token of each text, or
    `decode` chooses several itself.

    Each is compiled once, `decode` once for each form of sampling, and serves any prompt and any
    number of steps: the states of the texts are variables of the decoder.

    Args:
        model: The model.
        batch_size: Number of texts.
        max_length: Tokens of the longest of them.
    """

    def __init__(self, model, batch_size, max_length):
        self.model, self.batch_size, self.max_length = model, batch_size, max_length
        self.length = 0
        self.padding = keras.Variable(
            ops.zeros((batch_size,), "int32"), trainable=False, dtype="int32"
        )
        self._prefill = self._compiled(time=None)
        self._step = self._compiled(time=1)
        self._loops = {}

    def _compiled(self, time):
        def run(token_ids, start):
            with decoding():
                return self._next_logits(token_ids, start)

        if keras.backend.backend() != "tensorflow":
            return run
        import tensorflow as tf

        signature = [tf.TensorSpec((self.batch_size, time), "int32"), tf.TensorSpec((), "int32")]
        return tf.function(run, input_signature=signature)

    def prefill(self, token_ids, padding=None):
        """Begins texts.

        Args:
            token_ids: int32 `(batch_size, time)`, the prompts, the shorter ones behind padding.
            padding: int32 `(batch_size,)`, the number of tokens of padding before each; or None.

        Returns:
            The logits of the next tokens, float32 `(batch_size, vocabulary_size)`.

        Raises:
            ValueError: If a prompt is empty, or longer than `max_length`.
        """
        time = token_ids.shape[1]
        if not 0 < time <= self.max_length:
            raise ValueError(
                f"The prompt has {time} tokens; the decoder takes from 1 to {self.max_length}."
            )
        self.padding.assign(ops.zeros_like(self.padding) if padding is None else padding)
        self._begin()
        self.length = 0
        return self._go_on(self._prefill, token_ids)

    def step(self, token_ids):
        """Goes on by one token.

        Args:
            token_ids: int32 `(batch_size,)`.

        Returns:
            The logits of the tokens after, float32 `(batch_size, vocabulary_size)`.

        Raises:
            ValueError: If the texts have `max_length` tokens already.
        """
        if self.length >= self.max_length:
            raise ValueError(f"The texts have {self.length} tokens, all that the decoder takes.")
        return self._go_on(self._step, ops.reshape(token_ids, (-1, 1)))

    def decode(self, token_ids, uniform, sampling, end_ids=(), running=None, seen=None):
        """Goes on by several tokens in one call, each chosen from the logits of those before it.

        That is a loop in the graph: what a call from Python costs is paid once for all of them.

        Args:
            token_ids: int32 `(batch_size,)`, the latest tokens.
            uniform: float32 `(count, batch_size)` in `[0, 1)`, what `count` tokens are drawn by.
            sampling: A `Sampling`; its seed is not used here.
            end_ids: Token ids that end a text.
            running: bool `(batch_size,)`, the texts that have not ended; all by default.
            seen: bool `(batch_size, vocabulary_size)`, the tokens that a text has; for the
                repetition penalty.

        Returns:
            `(chosen, seen)`: int32 `(count, batch_size)`, the end ids among them and `ENDED` from
            then on, and what `seen` has become. When no text is running the loop ends.

        Raises:
            ValueError: If the texts have no room for that many tokens.
        """
        count = uniform.shape[0]
        if self.length + count > self.max_length:
            raise ValueError(
                f"The texts have {self.length} tokens, and {count} more are asked for; the decoder "
                f"takes {self.max_length}."
            )
        form = sampling.form
        if form not in self._loops:
            if len(self._loops) >= _MOST_LOOPS:
                self._loops.pop(next(iter(self._loops)))
            self._loops[form] = self._compiled_loop(form)
        start, self.length = self.length, self.length + count
        if seen is None:
            seen = np.zeros((self.batch_size, 0), bool)
        if running is None:
            running = np.ones(self.batch_size, bool)
        inputs = {
            "int32": (token_ids, start, np.asarray(end_ids, "int32")),
            "float32": (uniform, sampling.numbers),
            "bool": (running, seen),
        }
        chosen, seen = self._loops[form](
            *(ops.convert_to_tensor(each, dtype) for dtype in inputs for each in inputs[dtype])
        )
        return chosen, (seen if form.has_penalty else None)

    def _compiled_loop(self, form):
        def run(token_ids, start, end_ids, uniform, numbers, running, seen):
            count = ops.shape(uniform)[0]
            chosen = ops.full(ops.shape(uniform), ENDED, "int32")

            def goes_on(step, token_ids, running, seen, chosen):
                return ops.logical_and(step < count, ops.any(running))

            def go_on(step, token_ids, running, seen, chosen):
                with decoding():
                    logits = self._next_logits(ops.maximum(token_ids, 0)[:, None], start + step)
                penalized = seen if form.has_penalty else None
                token_ids = choose_by_form(logits, uniform[step], form, numbers, penalized)
                token_ids = ops.where(running, token_ids, ENDED)
                if form.has_penalty:
                    new = ops.one_hot(token_ids, seen.shape[1], dtype="bool")
                    seen = ops.logical_or(seen, new)
                ends = ops.any(ops.equal(token_ids[:, None], end_ids), axis=1)
                running = ops.logical_and(running, ops.logical_not(ends))
                here = ops.equal(ops.arange(count, dtype="int32"), step)[:, None]
                chosen = ops.where(here, token_ids, chosen)
                return step + 1, token_ids, running, seen, chosen

            begin = ops.convert_to_tensor(0, "int32"), token_ids, running, seen, chosen
            _, _, _, seen, chosen = _while(goes_on, go_on, begin)
            return chosen, seen

        if keras.backend.backend() != "tensorflow":
            return run
        import tensorflow as tf

        batch = self.batch_size
        vocabulary_size = self.model.vocabulary_size if form.has_penalty else 0
        signature = [
            tf.TensorSpec((batch,), "int32"),
            tf.TensorSpec((), "int32"),
            tf.TensorSpec((None,), "int32"),
            tf.TensorSpec((None, batch), "float32"),
            tf.TensorSpec((4,), "float32"),
            tf.TensorSpec((batch,), "bool"),
            tf.TensorSpec((batch, vocabulary_size), "bool"),
        ]
        return tf.function(run, input_signature=signature)

    def _go_on(self, function, token_ids):
        token_ids = ops.convert_to_tensor(token_ids, "int32")
        start = ops.convert_to_tensor(self.length, "int32")
        self.length += token_ids.shape[1]
        return function(token_ids, start)

    def reorder(self, rows):
        """Puts the texts into another order, or one of them into several places.

        Args:
            rows: int32 `(batch_size,)`, which text each place gets.
        """
        rows = ops.convert_to_tensor(rows, "int32")
        self._reorder(rows)
        self.padding.assign(ops.take(self.padding, rows))

    def _begin(self):
        """Makes ready for new texts."""

    def _reorder(self, rows):
        raise NotImplementedError

    def _next_logits(self, token_ids, start):
        raise NotImplementedError

    def _logits(self, states):
        """The logits of the last position of hidden states."""
        return ops.cast(self.model.head.logits(states[:, -1]), "float32")


class TransformerDecoder(Decoder):
    """The decoder of a `CausalLM`, over a `KeyValueCache` for each block."""

    def __init__(self, model, batch_size, max_length):
        super().__init__(model, batch_size, max_length)
        self.caches = [
            KeyValueCache(
                batch_size,
                max_length,
                model.num_key_value_heads,
                model.head_dim,
                model.compute_dtype,
                first_key=self.padding,
            )
            for _ in range(model.num_layers)
        ]

    def _next_logits(self, token_ids, start):
        model = self.model
        places = start + ops.arange(ops.shape(token_ids)[1], dtype="int32")
        positions = ops.maximum(places - ops.convert_to_tensor(self.padding)[:, None], 0)
        states = model.embed(token_ids, positions)
        for block, cache in zip(model.blocks, self.caches, strict=True):
            states, _ = block(states, cache=cache, start_index=start)
        return self._logits(model.final_norm(states[:, -1:]))

    def _reorder(self, rows):
        for cache in self.caches:
            cache.reorder(rows)


class RecurrentDecoder(Decoder):
    """The decoder of an `LSTMLM`, whose states are those of its layers."""

    def __init__(self, model, batch_size, max_length):
        super().__init__(model, batch_size, max_length)
        self.states = [
            tuple(
                keras.Variable(
                    ops.zeros((batch_size, layer.units), model.compute_dtype),
                    trainable=False,
                    dtype=model.compute_dtype,
                )
                for _ in range(2)
            )
            for layer in model.recurrent_layers
        ]

    def _begin(self):
        for state in self.states:
            for variable in state:
                variable.assign(ops.zeros_like(variable))

    def _next_logits(self, token_ids, start):
        places = start + ops.arange(ops.shape(token_ids)[1], dtype="int32")
        mask = places >= ops.convert_to_tensor(self.padding)[:, None]
        states = [tuple(v.value for v in state) for state in self.states]
        hidden_states, states = self.model.advance(token_ids, states, mask=mask)
        for variables, state in zip(self.states, states, strict=True):
            for variable, new in zip(variables, state, strict=True):
                variable.assign(new)
        return self._logits(hidden_states)

    def _reorder(self, rows):
        for state in self.states:
            for variable in state:
                variable.assign(ops.take(variable, rows, axis=0))


def _while(goes_on, go_on, state):
    """`go_on(*state)` over and over while `goes_on(*state)`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # One step after the other: a step writes variables that the next one reads.
        return tf.while_loop(goes_on, go_on, state, parallel_iterations=1)
    while goes_on(*state):
        state = go_on(*state)
    return state


_DECODERS = {CausalLM: TransformerDecoder, LSTMLM: RecurrentDecoder}
