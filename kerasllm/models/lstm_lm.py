"""The LSTM language model."""

import keras
from keras import ops

from kerasllm.layers import LSTM, Embedding, LinearCrossEntropy
from kerasllm.models.checks import check_positive, check_rates
from kerasllm.models.language_model import IGNORED, LanguageModel
from kerasllm.ops.dropout import dropout
from kerasllm.ops.lstm import lstm
from kerasllm.ops.random import draw_seed

# What closes a gate, whatever else its sum has.
_CLOSED = -1e4


@keras.saving.register_keras_serializable(package="kerasllm")
class LSTMLM(LanguageModel):
    """A language model of one to three LSTM layers with tied embeddings.

    Dropout is variational: one mask for all steps of a row, on the embeddings, between the layers
    and before the last (Gal and Ghahramani, A Theoretically Grounded Application of Dropout in
    Recurrent Neural Networks, 2016). Weight dropout leaves out elements of the recurrent weights,
    the same ones in all steps (Merity, Keskar and Socher, Regularizing and Optimizing LSTM Language
    Models, 2018). `LanguageModel` has the inputs, the loss and `token_losses`. In a packed row
    (`segment_ids`) each document starts with empty states; this needs a length that is known only
    in the step, which `jit_compile=True` does not have.

    Examples:

    >>> model = kerasllm.models.LSTMLM(6000, embedding_dim=256, units=512, dropout=0.3)
    >>> model.compile(kerasllm.optimizers.AdamW(2e-3))
    >>> model.fit({"token_ids": ids[:, :-1], "labels": ids[:, 1:]})

    Args:
        vocabulary_size: Number of token ids.
        embedding_dim: Size of a token's vector, and of the last layer where embeddings are tied.
            256 by default.
        units: Size of the layers before the last, and of the last where embeddings are not tied.
            512 by default.
        num_layers: Number of LSTM layers. 2 by default.
        tie_embeddings: Whether the last layer's weights are those of the embeddings (Press and
            Wolf, Using the Output Embedding to Improve Language Models, 2017). True by default.
        dropout: Rate of the variational dropout. 0.0 by default.
        weight_dropout: Rate at which recurrent weights are dropped. 0.0 by default.
        label_smoothing: Of the loss. 0.0 by default.
        seed: Of dropout; an integer, or None for one at random.
        dtype: Dtype or dtype policy, such as `"mixed_bfloat16"`. Logits and losses are float32.
        **kwargs: `name` and `trainable` of `keras.Model`.

    Call arguments:
        inputs: int32 `(batch, time)`, or a dict of `"token_ids"` and, if there are any,
            `"segment_ids"` and `"labels"`; see `LanguageModel`.
        training: Whether dropout is on.

    Returns:
        Logits, float32 `(batch, time, vocabulary_size)`; with labels `(losses, correct)`, float32
        and bool `(batch, time)`.

    Raises:
        ValueError: If a size is no positive integer, or a rate not in `[0, 1)`.
    """

    def __init__(
        self,
        vocabulary_size,
        embedding_dim=256,
        units=512,
        num_layers=2,
        tie_embeddings=True,
        dropout=0.0,
        weight_dropout=0.0,
        label_smoothing=0.0,
        seed=None,
        dtype=None,
        **kwargs,
    ):
        super().__init__(dtype=dtype, **kwargs)
        check_positive(
            vocabulary_size=vocabulary_size,
            embedding_dim=embedding_dim,
            units=units,
            num_layers=num_layers,
        )
        check_rates(dropout=dropout, weight_dropout=weight_dropout)

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim
        self.units = units
        self.num_layers = num_layers
        self.tie_embeddings = tie_embeddings
        self.dropout = dropout
        self.weight_dropout = weight_dropout
        self.label_smoothing = label_smoothing
        self.seed = seed

        # === Layers ===
        policy = self.dtype_policy
        self.token_embedding = Embedding(
            vocabulary_size,
            embedding_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=embedding_dim**-0.5),
            dtype=policy,
            name="token_embedding",
        )
        last = embedding_dim if tie_embeddings else units
        self.recurrent_layers = [
            LanguageModelLSTM(
                units if index < num_layers - 1 else last,
                weight_dropout=weight_dropout,
                return_sequences=True,
                seed=seed,
                dtype=policy,
                name=f"lstm_{index}",
            )
            for index in range(num_layers)
        ]
        self.head = LinearCrossEntropy(
            vocabulary_size,
            tied_to=self.token_embedding if tie_embeddings else None,
            ignore_index=IGNORED,
            label_smoothing=label_smoothing,
            dtype=policy,
            name="head",
        )
        self.dropout_seed_generator = keras.random.SeedGenerator(seed) if dropout else None
        self.token_embedding.build()
        dim = embedding_dim
        for layer in self.recurrent_layers:
            layer.build((None, None, dim))
            dim = layer.units
        self.head.build((None, None, dim))
        self.build()

    def hidden_states(self, token_ids, segment_ids=None, training=False):
        if segment_ids is None:
            return self.advance(token_ids, None, training=training)[0]
        # A step that empties the states is put before each document but the first.
        places, tokens, resets = _with_resets(token_ids, segment_ids)
        states, _ = self.advance(tokens, None, resets=resets, training=training)
        return ops.take_along_axis(states, places[:, :, None], axis=1)

    def advance(self, token_ids, states, resets=None, mask=None, training=False):
        """Goes on from given states.

        Args:
            token_ids: int32 `(batch, time)`.
            states: A list of pairs `(hidden, cell)`, each `(batch, units)`, one for each layer, as
                this function gives them; None for zeros.
            resets: bool `(batch, time)`: steps that leave zeros behind; or None.
            mask: bool `(batch, time)`, false at steps that are left out; or None.
            training: Whether dropout is on.

        Returns:
            `(hidden_states, states)`: `(batch, time, dim)` and the new states.
        """
        x = self._drop(self.token_embedding(token_ids), training)
        new_states = []
        for index, layer in enumerate(self.recurrent_layers):
            state = None if states is None else states[index]
            x, *state = layer.advance(x, state, resets, mask, training=training)
            new_states.append(tuple(state))
            x = self._drop(x, training)
        return x, new_states

    def _drop(self, x, training):
        if not (training and self.dropout):
            return x
        shape = ops.shape(x)
        ones = ops.ones((shape[0], 1, shape[2]), dtype=x.dtype)
        return x * dropout(ones, self.dropout, draw_seed(self.dropout_seed_generator))


@keras.saving.register_keras_serializable(package="kerasllm")
class LanguageModelLSTM(LSTM):
    """`kerasllm.layers.LSTM` with weight dropout, and with steps that empty the states.

    Args:
        units: The size of the state.
        weight_dropout: Rate at which recurrent weights are dropped in training.
        **kwargs: Those of `kerasllm.layers.LSTM`.
    """

    def __init__(self, units, weight_dropout=0.0, **kwargs):
        super().__init__(units, **kwargs)
        self.weight_dropout = weight_dropout
        self.weight_seed_generator = (
            keras.random.SeedGenerator(kwargs.get("seed")) if weight_dropout else None
        )

    def advance(self, inputs, states=None, resets=None, mask=None, training=False):
        """The outputs of all steps and the states after the last; see `LSTMLM.advance`.

        Args:
            inputs: `(batch, time, dim)`.
            states: A pair `(hidden, cell)`, or None for zeros.
            resets: bool `(batch, time)`, or None.
            mask: bool `(batch, time)`, or None.
            training: Whether dropout is on.
        """
        dtype = self.compute_dtype
        inputs = ops.cast(inputs, dtype)
        if states is None:
            zeros = ops.zeros((ops.shape(inputs)[0], self.units), dtype=dtype)
            states = zeros, zeros
        kernel = ops.convert_to_tensor(self.cell.kernel, dtype=dtype)
        recurrent_kernel = ops.convert_to_tensor(self.cell.recurrent_kernel, dtype=dtype)
        if training and self.weight_dropout:
            seed = draw_seed(self.weight_seed_generator)
            recurrent_kernel = dropout(recurrent_kernel, self.weight_dropout, seed)
        if resets is not None:
            # One more feature, whose weights close the input and the forget gate: the cell is then
            # zero, and so is what the output gate makes of it.
            flags = ops.cast(resets, dtype)[:, :, None]
            inputs = ops.concatenate([inputs * (1 - flags), flags], axis=-1)
            closed = ops.full((1, 2 * self.units), _CLOSED, dtype=dtype)
            open_ = ops.zeros((1, 2 * self.units), dtype=dtype)
            row = ops.concatenate([closed, open_], axis=-1)
            kernel = ops.concatenate([kernel, row], axis=0)
        return lstm(
            inputs,
            *(ops.cast(state, dtype) for state in states),
            kernel,
            recurrent_kernel,
            ops.convert_to_tensor(self.cell.bias, dtype=dtype),
            mask=mask,
            training=training,
        )

    def get_config(self):
        return {**super().get_config(), "weight_dropout": self.weight_dropout}


def _with_resets(token_ids, segment_ids):
    """The rows with a step more before each document but the first.

    Returns:
        `(places, tokens, resets)`: int32 `(batch, time)`, where the tokens went to; int32 and bool
        `(batch, longer)`, the tokens and which steps are the new ones.
    """
    begins = ops.pad(ops.not_equal(segment_ids[:, 1:], segment_ids[:, :-1]), ((0, 0), (1, 0)))
    added = ops.cumsum(ops.cast(begins, "int32"), axis=1)
    batch, time = ops.shape(token_ids)
    places = ops.arange(time, dtype="int32") + added
    longer = time + ops.max(added)
    rows = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], (batch, time))
    indices = ops.reshape(rows * longer + places, (-1, 1))

    def scatter(values):
        flat = ops.scatter(indices, ops.reshape(values, (-1,)), (batch * longer,))
        return ops.reshape(flat, (batch, longer))

    tokens = scatter(token_ids)
    filled = scatter(ops.ones_like(token_ids))
    # After the last token there is nothing: what a step does there is of no account.
    return places, tokens, ops.equal(filled, 0)
