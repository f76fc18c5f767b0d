"""Multi-head attention with grouped queries, rotary positions and a cache of earlier keys."""

import keras
from keras import ops

from kerasllm.layers.dense import Dense
from kerasllm.layers.key_value_cache import KeyValueCache
from kerasllm.layers.rms_normalization import RMSNormalization
from kerasllm.layers.rotary_embedding import RotaryEmbedding
from kerasllm.ops.attention import attention, attention_probabilities
from kerasllm.ops.decoding import is_decoding
from kerasllm.ops.dense import dense
from kerasllm.ops.few_rows_product import few_rows_products, few_rows_served
from kerasllm.ops.random import draw_seed


@keras.saving.register_keras_serializable(package="kerasllm")
class CachedMultiHeadAttention(keras.layers.Layer):
    """The attention of our transformer blocks: self- or cross-attention on the fused attention op.

    Beside what `keras.layers.MultiHeadAttention` does it shares keys and values among groups of
    query heads (Ainslie et al., GQA, 2023), rotates queries and keys by their positions, and
    attends over a cache of earlier keys and values, so that a text is continued without computing
    its begin again. Weights are four dense layers: `query`, `key`, `value` and `output`.

    Examples:

    >>> layer = kerasllm.layers.CachedMultiHeadAttention(num_heads=8, head_dim=32)
    >>> layer(np.random.rand(2, 10, 256), causal=True).shape
    TensorShape([2, 10, 256])

    A text in two parts, the second over the cache of the first:

    >>> cache = layer.make_cache(batch_size=2, max_length=64)
    >>> first, cache = layer(start, causal=True, cache=cache, start_index=0)
    >>> second, cache = layer(more, causal=True, cache=cache, start_index=start.shape[1])

    Args:
        num_heads: Number of query heads.
        head_dim: Size of a head.
        num_key_value_heads: Number of key and value heads, a divisor of `num_heads`, which is the
            default.
        dropout: Rate at which attention weights are dropped in training. 0.0 by default.
        use_bias: Whether the dense layers have biases. True by default.
        query_key_value_bias: Whether those of queries, keys and values have; `use_bias` by default.
            Qwen2 has biases there alone.
        query_key_norm_epsilon: If given, the heads of queries and keys are RMS-normalised before
            their rotation, with this added to the mean square (Dehghani et al., Scaling Vision
            Transformers to 22 Billion Parameters, 2023), as in Qwen3.
        rotary_max_wavelength: If given, queries and keys get rotary positions of this
            `max_wavelength`.
        sliding_window: If given, a query sees that many of the latest keys only.
        kernel_initializer: Of the dense layers. `"glorot_uniform"` by default.
        seed: Of dropout; an integer, or None for one at random.
        **kwargs: Those of every layer.

    Call arguments:
        inputs: `(batch, query_length, dim)`, what asks.
        context: `(batch, key_length, context_dim)`, what is asked; `inputs` by default.
        key_value: A pair from `keys_and_values`, instead of a context that is asked repeatedly.
        context_mask: bool `(batch, key_length)`, false where the context is padding. With a cache
            its length is the cache's.
        attention_mask: bool `(batch or 1, num_heads or 1, query_length or 1, key_length)`, true
            where a query sees a key; instead of `context_mask`.
        causal: Whether a query sees only keys up to its own position.
        cache: A pair from `make_cache`, a `KeyValueCache`, or None.
        start_index: The position of the first query, an integer or int32 scalar. With a cache, new
            keys and values are written from there on.
        training: Whether dropout is on.

    Returns:
        `(batch, query_length, dim)`; with a cache, that and the new cache.

    Raises:
        ValueError: If `num_key_value_heads` does not divide `num_heads`.
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        num_key_value_heads=None,
        dropout=0.0,
        use_bias=True,
        query_key_value_bias=None,
        query_key_norm_epsilon=None,
        rotary_max_wavelength=None,
        sliding_window=None,
        kernel_initializer="glorot_uniform",
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.num_key_value_heads = num_key_value_heads or num_heads
        if num_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_heads is {num_heads} and num_key_value_heads {num_key_value_heads}; the "
                "first must be a multiple of the second."
            )
        self.dropout = dropout
        self.use_bias = use_bias
        self.query_key_value_bias = query_key_value_bias
        self.query_key_norm_epsilon = query_key_norm_epsilon
        self.rotary_max_wavelength = rotary_max_wavelength
        self.sliding_window = sliding_window
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if dropout else None
        self.rotary = None
        if rotary_max_wavelength is not None:
            self.rotary = RotaryEmbedding(rotary_max_wavelength, dtype=self.dtype_policy)
        self.supports_masking = True

    def build(self, inputs_shape, context_shape=None):
        context_shape = context_shape or inputs_shape
        key_value_dim = self.num_key_value_heads * self.head_dim
        query_dim = self.num_heads * self.head_dim
        bias = self.use_bias if self.query_key_value_bias is None else self.query_key_value_bias
        self.query_dense = self._dense(query_dim, "query", inputs_shape[-1], bias)
        self.key_dense = self._dense(key_value_dim, "key", context_shape[-1], bias)
        self.value_dense = self._dense(key_value_dim, "value", context_shape[-1], bias)
        self.output_dense = self._dense(inputs_shape[-1], "output", query_dim, self.use_bias)
        self.query_norm = self.key_norm = None
        if self.query_key_norm_epsilon is not None:
            self.query_norm, self.key_norm = self._norm("query_norm"), self._norm("key_norm")

    def _dense(self, units, name, input_dim, use_bias):
        layer = Dense(
            units,
            use_bias=use_bias,
            # A clone: one initializer gives every layer the same values.
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, None, input_dim))
        return layer

    def _norm(self, name):
        layer = RMSNormalization(
            epsilon=self.query_key_norm_epsilon, dtype=self.dtype_policy, name=name
        )
        layer.build((None, None, None, self.head_dim))
        return layer

    def make_cache(self, batch_size, max_length):
        """An empty cache.

        Args:
            batch_size: Number of sequences.
            max_length: Number of positions.

        Returns:
            A pair of zeros `(batch_size, max_length, num_key_value_heads, head_dim)`, for keys and
            for values.
        """
        shape = (batch_size, max_length, self.num_key_value_heads, self.head_dim)
        zeros = ops.zeros(shape, dtype=self.compute_dtype)
        return zeros, zeros

    def keys_and_values(self, context, start_index=0):
        """The keys and values of a context, to be used for several queries.

        Args:
            context: `(batch, key_length, context_dim)`.
            start_index: The position of its first step. 0 by default.

        Returns:
            A pair of `(batch, key_length, num_key_value_heads, head_dim)`.
        """
        key = self._heads(self.key_dense(context), self.num_key_value_heads)
        value = self._heads(self.value_dense(context), self.num_key_value_heads)
        if self.key_norm is not None:
            key = self.key_norm(key)
        if self.rotary is not None:
            key = self.rotary(key, start_index=start_index)
        return key, value

    def attention_weights(
        self,
        inputs,
        context=None,
        key_value=None,
        context_mask=None,
        attention_mask=None,
        causal=False,
        start_index=0,
    ):
        """How much each query attends to each key, for explanations; the arguments are those of the
        call.

        The fused op never has these weights, so they are computed anew, by keras.ops. They take
        `num_heads * query_length * key_length` floats of memory for each row of the batch.

        Returns:
            float32 `(batch, num_heads, query_length, key_length)`; rows sum to 1, or are zeros
            where a query sees no key.
        """
        query = self._query(inputs, start_index)
        if key_value is None:
            key_value = self.keys_and_values(inputs if context is None else context, start_index)
        return attention_probabilities(
            query,
            key_value[0],
            mask=_as_key_mask(context_mask) if attention_mask is None else attention_mask,
            causal=causal,
            window=self.sliding_window,
        )

    def _query(self, inputs, start_index):
        query = self._heads(self.query_dense(inputs), self.num_heads)
        if self.query_norm is not None:
            query = self.query_norm(query)
        if self.rotary is not None:
            query = self.rotary(query, start_index=start_index)
        return query

    def call(
        self,
        inputs,
        context=None,
        key_value=None,
        context_mask=None,
        attention_mask=None,
        causal=False,
        cache=None,
        start_index=0,
        training=False,
    ):
        if context is None and key_value is None and self._one_product(inputs, training):
            query, key, value = self._query_key_value(inputs, start_index)
        else:
            query = self._query(inputs, start_index)
            if key_value is None:
                context = inputs if context is None else context
                key_value = self.keys_and_values(context, start_index)
            key, value = key_value
        if isinstance(cache, KeyValueCache):
            if not causal or attention_mask is not None or context_mask is not None:
                raise ValueError("A KeyValueCache serves causal attention without further masks.")
            outputs = cache.attend(query, key, value, start_index, window=self.sliding_window)
            return self._output(outputs), cache
        query_offset = None
        if cache is not None:
            key = ops.slice_update(cache[0], (0, start_index, 0, 0), key)
            value = ops.slice_update(cache[1], (0, start_index, 0, 0), value)
            cache = (key, value)
            batch = ops.shape(inputs)[0]
            query_offset = ops.broadcast_to(ops.cast(start_index, "int32"), (batch,))
        dropout = self.dropout if training else 0.0
        outputs = attention(
            query,
            key,
            value,
            mask=_as_key_mask(context_mask) if attention_mask is None else attention_mask,
            causal=causal,
            window=self.sliding_window,
            query_offset=query_offset,
            dropout_rate=dropout,
            seed=draw_seed(self.seed_generator) if dropout else None,
        )
        outputs = self._output(outputs)
        return outputs if cache is None else (outputs, cache)

    def _output(self, heads):
        # (batch, time, num_heads, head_dim) -> (batch, time, dim)
        shape = (*ops.shape(heads)[:2], self.num_heads * self.head_dim)
        return self.output_dense(ops.reshape(heads, shape))

    def _one_product(self, inputs, training):
        """Whether self-attention takes query, key and value from one product.

        That pays where the backward pass adds up three gradients otherwise, in bfloat16, whose
        products of small matrices are slow, and for the few rows of decoding, whose products are
        one op without a copy of the weights. Layers whose calls were replaced keep their own.
        """
        if is_decoding():
            if not few_rows_served(inputs):
                return False
        elif not training and self.compute_dtype == "float32":
            return False
        layers = (self.query_dense, self.key_dense, self.value_dense)
        replaced = any(type(layer) is not Dense or "call" in vars(layer) for layer in layers)
        quantized = any(layer.quantization_mode for layer in layers)
        return not (replaced or quantized or "keys_and_values" in vars(self))

    def _query_key_value(self, inputs, start_index):
        layers = (self.query_dense, self.key_dense, self.value_dense)
        kernels = [layer.kernel for layer in layers]
        biases = [layer.bias for layer in layers]
        num_heads = [self.num_heads] + 2 * [self.num_key_value_heads]
        if few_rows_served(inputs):
            states = few_rows_products(inputs, kernels, biases)
            query, key, value = map(self._heads, states, num_heads)
        else:
            kernel = _side_by_side(kernels)
            bias = _side_by_side(biases) if self.query_dense.use_bias else None
            # (batch, time, num_heads + 2 * num_key_value_heads, head_dim)
            states = self._heads(dense(inputs, kernel, bias), sum(num_heads))
            query, key, value = ops.split(states, (num_heads[0], sum(num_heads[:2])), axis=2)
        if self.query_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if self.rotary is not None:
            query, key = (self.rotary(each, start_index=start_index) for each in (query, key))
        return query, key, value

    def _heads(self, tensor, num_heads):
        # (batch, time, num_heads * head_dim) -> (batch, time, num_heads, head_dim)
        return ops.reshape(tensor, (*ops.shape(tensor)[:2], num_heads, self.head_dim))

    def compute_mask(self, inputs, mask=None):
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "num_key_value_heads": self.num_key_value_heads,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "query_key_value_bias": self.query_key_value_bias,
            "query_key_norm_epsilon": self.query_key_norm_epsilon,
            "rotary_max_wavelength": self.rotary_max_wavelength,
            "sliding_window": self.sliding_window,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "seed": self.seed,
        }


def _side_by_side(weights):
    return ops.concatenate([ops.convert_to_tensor(each) for each in weights], axis=-1)


def _as_key_mask(mask):
    # (batch, key_length) -> (batch, 1, 1, key_length)
    return None if mask is None else ops.cast(mask, "bool")[:, None, None, :]
