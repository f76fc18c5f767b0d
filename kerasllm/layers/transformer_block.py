"""What the transformer's encoder and decoder blocks share."""

import itertools

import keras

from kerasllm.layers.cached_multi_head_attention import CachedMultiHeadAttention
from kerasllm.layers.dense import Dense
from kerasllm.layers.dropout import Dropout
from kerasllm.layers.feed_forward import run_feed_forward
from kerasllm.layers.gated_dense import GatedDense
from kerasllm.layers.layer_normalization import LayerNormalization
from kerasllm.layers.rms_normalization import RMSNormalization
from kerasllm.ops.random import draw_seed

NORMALIZATIONS = {"layer": LayerNormalization, "rms": RMSNormalization}
GATED_ACTIVATIONS = {"geglu": "gelu", "swiglu": "silu"}


class TransformerBlock(keras.layers.Layer):
    """Base of `TransformerEncoderBlock` and `TransformerDecoderBlock`.

    A block is a row of branches (attention, feed-forward), each with a residual around it. With
    `pre_norm` a branch takes the normalised state and its result is added to the state as it is;
    without, the sum of state and result is normalised. Either way one fused op drops, adds and
    normalises.

    Args:
        num_heads: Number of attention heads.
        feed_forward_dim: Size of the hidden layer of the feed-forward branch.
        dropout: Rate at which attention weights and the results of branches are dropped in
            training. 0.1 by default.
        activation: Of the feed-forward branch: a Keras activation, or `"geglu"` or `"swiglu"` for
            the gated forms (Shazeer, GLU Variants Improve Transformer, 2020). `"gelu"` by default.
        pre_norm: Whether a branch normalises its input (GPT-2, Llama) or its sum (BERT, the first
            transformer). False by default.
        normalization: `"layer"` or `"rms"`. `"layer"` by default.
        epsilon: Added to the variance. 1e-6 by default.
        head_dim: Size of a head; the inputs' size divided by `num_heads` by default.
        num_key_value_heads: See `CachedMultiHeadAttention`.
        rotary_max_wavelength: See `CachedMultiHeadAttention`.
        use_bias: Whether dense layers have biases. True by default.
        query_key_value_bias: See `CachedMultiHeadAttention`.
        query_key_norm: Whether the heads of queries and keys are normalised, with this `epsilon`;
            see `CachedMultiHeadAttention`. False by default.
        kernel_initializer: Of the dense layers. `"glorot_uniform"` by default.
        attention_dropout: Rate at which attention weights are dropped, where it is not `dropout`.
        seed: Of dropout; an integer, or None for one at random.
        **kwargs: Those of every layer.

    Raises:
        ValueError: If `num_heads` does not divide the inputs' size and no `head_dim` is given, or
            `normalization` is unknown.
    """

    def __init__(
        self,
        num_heads,
        feed_forward_dim,
        dropout=0.1,
        activation="gelu",
        pre_norm=False,
        normalization="layer",
        epsilon=1e-6,
        head_dim=None,
        num_key_value_heads=None,
        rotary_max_wavelength=None,
        use_bias=True,
        query_key_value_bias=None,
        query_key_norm=False,
        kernel_initializer="glorot_uniform",
        attention_dropout=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if normalization not in NORMALIZATIONS:
            raise ValueError(
                f"normalization is {normalization!r}; expected one of {', '.join(NORMALIZATIONS)}."
            )
        self.num_heads = num_heads
        self.feed_forward_dim = feed_forward_dim
        self.dropout = dropout
        gated = isinstance(activation, str) and activation in GATED_ACTIVATIONS
        self.activation = activation if gated else keras.activations.get(activation)
        self.pre_norm = pre_norm
        self.normalization = normalization
        self.epsilon = epsilon
        self.head_dim = head_dim
        self.num_key_value_heads = num_key_value_heads
        self.rotary_max_wavelength = rotary_max_wavelength
        self.use_bias = use_bias
        self.query_key_value_bias = query_key_value_bias
        self.query_key_norm = query_key_norm
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.attention_dropout = attention_dropout
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if dropout else None
        self.supports_masking = True

    # === Layers, made when the inputs' size is known ===

    def _attention(self, dim, name, rotary=True):
        if self.head_dim is None and dim % self.num_heads:
            raise ValueError(
                f"The inputs have {dim} features, which {self.num_heads} heads do not divide; "
                "give head_dim, or another num_heads."
            )
        return CachedMultiHeadAttention(
            self.num_heads,
            self.head_dim or dim // self.num_heads,
            num_key_value_heads=self.num_key_value_heads,
            dropout=self.dropout if self.attention_dropout is None else self.attention_dropout,
            use_bias=self.use_bias,
            query_key_value_bias=self.query_key_value_bias,
            query_key_norm_epsilon=self.epsilon if self.query_key_norm else None,
            rotary_max_wavelength=self.rotary_max_wavelength if rotary else None,
            kernel_initializer=self.kernel_initializer.clone(),
            seed=self.seed,
            dtype=self.dtype_policy,
            name=name,
        )

    def _normalization(self, dim, name):
        layer = NORMALIZATIONS[self.normalization](
            epsilon=self.epsilon, dtype=self.dtype_policy, name=name
        )
        layer.build((None, None, dim))
        return layer

    def _build_feed_forward(self, dim):
        options = {
            "use_bias": self.use_bias,
            "dtype": self.dtype_policy,
        }
        hidden = Dense
        activation = self.activation
        if activation in GATED_ACTIVATIONS:
            hidden, activation = GatedDense, GATED_ACTIVATIONS[activation]
        self.intermediate_dense = hidden(
            self.feed_forward_dim,
            activation=activation,
            kernel_initializer=self.kernel_initializer.clone(),
            name="intermediate",
            **options,
        )
        self.output_dense = Dense(
            dim, kernel_initializer=self.kernel_initializer.clone(), name="output", **options
        )
        self.intermediate_dense.build((None, None, dim))
        self.output_dense.build((None, None, self.feed_forward_dim))
        self.output_dropout = Dropout(
            self.dropout, seed=self.seed, dtype=self.dtype_policy, name="output_dropout"
        )

    # === Steps of a block ===

    def _feed_forward(self, training):
        """The feed-forward branch as a function of the states."""

        def run(states):
            return run_feed_forward(self.intermediate_dense, self.output_dense, states, training)

        return run

    def _run_branches(self, branches, states, training):
        """Runs the block.

        Args:
            branches: Pairs of a function of the states and its normalization layer.
            states: `(batch, time, dim)`.
            training: Whether dropout is on.
        """
        if not self.pre_norm:
            for branch, norm in branches:
                states = self._add_and_normalize(norm, branch(states), states, training)
            return states
        # A branch's result is added and dropped by the normalisation of the branch after it.
        normed = branches[0][1](states)
        for (branch, _), (_, next_norm) in itertools.pairwise(branches):
            normed, states = self._add_and_normalize(
                next_norm, branch(normed), states, training, return_sum=True
            )
        return states + self.output_dropout(branches[-1][0](normed), training=training)

    def _add_and_normalize(self, layer, branch, residual, training, return_sum=False):
        """The normalised sum of residual and dropped branch, and the sum itself if asked for."""
        dropout = self.dropout if training else 0.0
        return layer(
            branch,
            residual=residual,
            dropout_rate=dropout,
            seed=draw_seed(self.seed_generator) if dropout else None,
            return_sum=return_sum,
        )

    def compute_output_shape(self, inputs_shape, *_, **__):
        return inputs_shape

    def get_config(self):
        activation = self.activation
        if activation not in GATED_ACTIVATIONS:
            activation = keras.activations.serialize(activation)
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "feed_forward_dim": self.feed_forward_dim,
            "dropout": self.dropout,
            "activation": activation,
            "pre_norm": self.pre_norm,
            "normalization": self.normalization,
            "epsilon": self.epsilon,
            "head_dim": self.head_dim,
            "num_key_value_heads": self.num_key_value_heads,
            "rotary_max_wavelength": self.rotary_max_wavelength,
            "use_bias": self.use_bias,
            "query_key_value_bias": self.query_key_value_bias,
            "query_key_norm": self.query_key_norm,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "attention_dropout": self.attention_dropout,
            "seed": self.seed,
        }
