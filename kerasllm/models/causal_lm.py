"""The decoder-only transformer language model."""

import keras
from keras import ops

from kerasllm.layers import (
    Dropout,
    Embedding,
    LayerNormalization,
    LinearCrossEntropy,
    RMSNormalization,
    TransformerDecoderBlock,
)
from kerasllm.models.causal_lm_presets import causal_lm_arguments
from kerasllm.models.checks import check_positive
from kerasllm.models.language_model import IGNORED, LanguageModel
from kerasllm.models.packed_rows import positions_within, same_document_mask
from kerasllm.models.pretrained.causal_lm import load_causal_lm, save_causal_lm
from kerasllm.ops.embedding import embedding
from kerasllm.ops.gelu import gelu_tanh

POSITIONS = ("learned", "rotary")


@keras.saving.register_keras_serializable(package="kerasllm")
class CausalLM(LanguageModel):
    """A transformer that says at each position which token comes next.

    By its arguments it is a GPT-2 (learned positions, layer normalisation, GELU: Radford et al.,
    Language Models are Unsupervised Multitask Learners, 2019) or of the modern form (rotary
    positions, RMS normalisation, SwiGLU, grouped queries: Llama, Qwen2, Qwen3);
    `CausalLM.from_preset` has both by name. `LanguageModel` has the inputs, the loss and
    `token_losses`; documents that are packed into one row (`segment_ids`) do not see each other,
    and learned positions start at each of them.

    Examples:

    >>> model = kerasllm.models.CausalLM.from_preset("modern", "micro", vocabulary_size=6000)
    >>> model.compile(kerasllm.optimizers.AdamW(1e-3))
    >>> model.fit({"token_ids": ids[:, :-1], "labels": ids[:, 1:]})
    >>> model.logits(ids[:1]).shape
    TensorShape([1, 128, 6000])

    Args:
        vocabulary_size: Number of token ids.
        max_length: Longest text in tokens; learned positions go no further. 1024 by default.
        hidden_dim: Size of a token's vector in all blocks. 768 by default.
        num_layers: Number of blocks. 12 by default.
        num_heads: Number of query heads. 12 by default.
        num_key_value_heads: Number of key and value heads, a divisor of `num_heads`, which is the
            default.
        head_dim: Size of a head; `hidden_dim / num_heads` by default.
        feed_forward_dim: Size of the hidden layer of the feed-forward branches. By default 4 times
            `hidden_dim`, and with a gate 8/3 of it, to a multiple of 32, which is as many weights.
        positions: `"learned"` or `"rotary"`. `"learned"` by default.
        rotary_max_wavelength: See `RotaryEmbedding`. 10000 by default.
        normalization: `"layer"` or `"rms"`. `"layer"` by default.
        activation: Of the feed-forward branches: `"gelu_tanh"`, a Keras activation, or `"swiglu"`
            or `"geglu"` for the gated forms. `"gelu_tanh"` by default.
        use_bias: Whether dense layers have biases. True by default.
        query_key_value_bias: Whether those of queries, keys and values have; `use_bias` by default.
        query_key_norm: Whether the heads of queries and keys are normalised. False by default.
        tie_embeddings: Whether the last layer's weights are those of the token embeddings. True by
            default.
        dropout: Rate at which embeddings, attention weights and results of branches are dropped in
            training. 0.0 by default.
        epsilon: Added to variances. 1e-5 by default.
        label_smoothing: Of the loss. 0.0 by default.
        z_loss: Weight of the squared log-sum-exp in the loss. 0.0 by default.
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
        ValueError: If a size is no positive integer, or sizes do not fit each other.
    """

    def __init__(
        self,
        vocabulary_size,
        max_length=1024,
        hidden_dim=768,
        num_layers=12,
        num_heads=12,
        num_key_value_heads=None,
        head_dim=None,
        feed_forward_dim=None,
        positions="learned",
        rotary_max_wavelength=10_000.0,
        normalization="layer",
        activation="gelu_tanh",
        use_bias=True,
        query_key_value_bias=None,
        query_key_norm=False,
        tie_embeddings=True,
        dropout=0.0,
        epsilon=1e-5,
        label_smoothing=0.0,
        z_loss=0.0,
        seed=None,
        dtype=None,
        **kwargs,
    ):
        super().__init__(dtype=dtype, **kwargs)
        check_positive(
            vocabulary_size=vocabulary_size,
            max_length=max_length,
            hidden_dim=hidden_dim,
            num_layers=num_layers,
            num_heads=num_heads,
        )
        if positions not in POSITIONS:
            raise ValueError(f"positions is {positions!r}; expected one of {', '.join(POSITIONS)}.")
        if feed_forward_dim is None:
            gated = activation in ("swiglu", "geglu")
            feed_forward_dim = round(hidden_dim / 12) * 32 if gated else 4 * hidden_dim
        policy = self.dtype_policy

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.max_length = max_length
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads or num_heads
        self.head_dim = head_dim or hidden_dim // num_heads
        self.feed_forward_dim = feed_forward_dim
        self.positions = positions
        self.rotary_max_wavelength = rotary_max_wavelength
        self.normalization = normalization
        self.activation = activation
        self.use_bias = use_bias
        self.query_key_value_bias = query_key_value_bias
        self.query_key_norm = query_key_norm
        self.tie_embeddings = tie_embeddings
        self.dropout = dropout
        self.epsilon = epsilon
        self.label_smoothing = label_smoothing
        self.z_loss = z_loss
        self.seed = seed

        # === Layers ===
        initializer = keras.initializers.RandomNormal(stddev=0.02)
        self.token_embedding = Embedding(
            vocabulary_size,
            hidden_dim,
            embeddings_initializer=initializer.clone(),
            dtype=policy,
            name="token_embedding",
        )
        self.position_embedding = None
        if positions == "learned":
            self.position_embedding = Embedding(
                max_length,
                hidden_dim,
                embeddings_initializer=initializer.clone(),
                dtype=policy,
                name="position_embedding",
            )
        self.embedding_dropout = Dropout(dropout, seed=seed, dtype=policy, name="dropout")
        self.blocks = [
            TransformerDecoderBlock(
                num_heads,
                feed_forward_dim,
                dropout=dropout,
                activation=gelu_tanh if activation == "gelu_tanh" else activation,
                pre_norm=True,
                normalization=normalization,
                epsilon=epsilon,
                head_dim=head_dim,
                num_key_value_heads=num_key_value_heads,
                rotary_max_wavelength=rotary_max_wavelength if positions == "rotary" else None,
                use_bias=use_bias,
                query_key_value_bias=query_key_value_bias,
                query_key_norm=query_key_norm,
                kernel_initializer=initializer,
                seed=seed,
                dtype=policy,
                name=f"block_{index}",
            )
            for index in range(num_layers)
        ]
        norm_class = LayerNormalization if normalization == "layer" else RMSNormalization
        self.final_norm = norm_class(epsilon=epsilon, dtype=policy, name="final_norm")
        self.head = LinearCrossEntropy(
            vocabulary_size,
            tied_to=self.token_embedding if tie_embeddings else None,
            use_bias=False,
            ignore_index=IGNORED,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
            kernel_initializer=initializer.clone(),
            dtype=policy,
            name="head",
        )
        self._build_layers()

    def _build_layers(self):
        shape = (None, None, self.hidden_dim)
        self.token_embedding.build()
        if self.position_embedding is not None:
            self.position_embedding.build()
        for block in self.blocks:
            block.build(shape)
            # So that the sum of all branches begins with the variance of one (GPT-2).
            for layer in (block.attention.output_dense, block.output_dense):
                layer.kernel.assign(layer.kernel / (2 * self.num_layers) ** 0.5)
        self.final_norm.build(shape)
        self.head.build(shape)
        self.build()

    @classmethod
    def from_preset(cls, form, size=None, **arguments):
        """A model with new weights by the names of its form and size.

        Args:
            form: See `causal_lm_arguments`.
            size: See `causal_lm_arguments`.
            **arguments: Of the class, instead of the preset's; `vocabulary_size` among them.
        """
        return cls(**causal_lm_arguments(form, size, **arguments))

    @classmethod
    def from_pretrained(cls, folder, surplus="error", revision=None, **arguments):
        """A model with the weights of a Hugging Face folder: GPT-2, Llama, Qwen2 or Qwen3.

        Read are config.json and model.safetensors, in one part or several, or pytorch_model.bin,
        without running what it might hold. All tensors are looked at before the first is taken.

        Args:
            folder: A folder, or a name on the Hub.
            surplus: `"ignore"` leaves out tensors that the model has no place for; `"error"`, by
                default, refuses them.
            revision: Of a name on the Hub: a branch, a tag or a commit.
            **arguments: Of the class, such as `dropout` or `dtype`.

        Returns:
            A `CausalLM`. `kerasllm.text.BPETokenizer.load` reads its tokenizer.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is damaged, a tensor is missing or of another shape, or the config
                asks for what the model does not have, such as scaled rotary positions.
        """
        return load_causal_lm(cls, folder, surplus, revision, **arguments)

    def save_pretrained(self, folder, tokenizer=None, dtype="float32"):
        """Writes a folder that transformers and `from_pretrained` read.

        Args:
            folder: The folder; it is made if it is missing.
            tokenizer: A `BPETokenizer` that is written beside the model, or None.
            dtype: Of the weights in the file: `"float32"`, by default, `"bfloat16"` or `"float16"`.

        Raises:
            ValueError: If no model of transformers has this form, or `dtype` is another.
        """
        save_causal_lm(self, folder, tokenizer, dtype)

    def embed(self, token_ids, position_ids):
        """The vectors of tokens at their positions.

        Args:
            token_ids: int32 `(batch, time)`.
            position_ids: int32 `(batch, time)`; not used with rotary positions.
        """
        if self.position_embedding is None:
            return self.token_embedding(token_ids)
        return embedding(
            token_ids,
            self.token_embedding.embeddings,
            segment_ids=position_ids,
            segment_embeddings=self.position_embedding.embeddings,
            dtype=self.compute_dtype,
        )

    def hidden_states(self, token_ids, segment_ids=None, training=False):
        time = ops.shape(token_ids)[1]
        learned = self.position_embedding is not None
        if learned and isinstance(time, int) and time > self.max_length:
            raise ValueError(
                f"A row has {time} tokens; {self.name} has {self.max_length} positions."
            )
        position_ids = ops.broadcast_to(ops.arange(time, dtype="int32"), ops.shape(token_ids))
        mask = None
        if segment_ids is not None:
            if learned:
                position_ids = positions_within(segment_ids, position_ids, self.max_length)
            mask = same_document_mask(segment_ids)
        states = self.embedding_dropout(self.embed(token_ids, position_ids), training=training)
        for block in self.blocks:
            states = block(states, attention_mask=mask, training=training)
        return self.final_norm(states)
