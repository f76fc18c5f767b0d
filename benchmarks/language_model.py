"""A training step of a small GPT, against the same model of stock Keras layers.

2 layers, width 256, 4 heads, a vocabulary of 21128 tied to the embeddings, batches of 16 x 128
tokens, and 4 layers of width 512. Ours is `CausalLM` with the vocabulary loss that never stores
logits and our AdamW; stock is Keras's layers and its AdamW, with logits by the embedding matrix and
SparseCategoricalCrossentropy on them. Both are measured with jit off, which is Keras's default on a
CPU, and on; ratios are to the faster of stock's two in the same dtype.
"""

import sys

import keras
import numpy as np

import kerasllm
from benchmarks import measure

VOCABULARY = 21128
# (batch, time, width, heads, layers)
SHAPES = [(16, 128, 256, 4, 2), (16, 128, 512, 8, 4)]
POLICIES = ("float32", "mixed_bfloat16")
STOCK = "stock"


def build_ours(time, width, heads, layers, policy):
    return kerasllm.models.CausalLM.from_preset(
        "gpt2",
        vocabulary_size=VOCABULARY,
        max_length=time,
        hidden_dim=width,
        num_layers=layers,
        num_heads=heads,
        dtype=policy,
    )


def build_stock(time, width, heads, layers, policy):
    """The same model as a user of Keras writes it."""

    def layer(kind, *arguments, **options):
        return getattr(keras.layers, kind)(*arguments, dtype=policy, **options)

    def gelu_tanh(x):
        return keras.activations.gelu(x, approximate=True)

    token_ids = keras.Input((None,), dtype="int32")
    embedding = TokenAndPositionEmbedding(time, width, dtype=policy, name="embedding")
    x = embedding(token_ids)
    for index in range(layers):
        normed = layer("LayerNormalization", epsilon=1e-5, name=f"attention_norm_{index}")(x)
        attention = layer("MultiHeadAttention", heads, width // heads, name=f"attention_{index}")
        x = layer("Add")([x, attention(normed, normed, use_causal_mask=True)])
        normed = layer("LayerNormalization", epsilon=1e-5, name=f"feed_forward_norm_{index}")(x)
        hidden = layer("Dense", 4 * width, activation=gelu_tanh, name=f"intermediate_{index}")
        output = layer("Dense", width, name=f"output_{index}")
        x = layer("Add")([x, output(hidden(normed))])
    x = layer("LayerNormalization", epsilon=1e-5, name="final_norm")(x)
    return keras.Model(token_ids, TiedLogits(embedding.tokens, dtype=policy)(x))


class TokenAndPositionEmbedding(keras.layers.Layer):
    """The sum of the vectors of tokens and of their positions."""

    def __init__(self, time, width, **kwargs):
        super().__init__(**kwargs)
        self.tokens = keras.layers.Embedding(VOCABULARY, width, dtype=self.dtype_policy)
        self.positions = keras.layers.Embedding(time, width, dtype=self.dtype_policy)

    def call(self, token_ids):
        time = keras.ops.shape(token_ids)[1]
        return self.tokens(token_ids) + self.positions(keras.ops.arange(time, dtype="int32"))


class TiedLogits(keras.layers.Layer):
    """Logits by the matrix of an embedding layer."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding

    def call(self, states):
        kernel = keras.ops.cast(self.embedding.embeddings, states.dtype)
        return keras.ops.cast(keras.ops.matmul(states, keras.ops.transpose(kernel)), "float32")


BUILDERS = {STOCK: (build_stock, keras.optimizers), "ours": (build_ours, kerasllm.optimizers)}


def compiled(who, sizes, policy, jit_compile=False):
    build, optimizers = BUILDERS[who]
    model = build(*sizes, policy)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if who == STOCK else None
    model.compile(optimizers.AdamW(1e-4), loss, jit_compile=jit_compile)
    return model


def copy_weights(ours, stock):
    """Gives the stock model the weights of ours; the kernels of heads have another shape there."""
    embedding = stock.get_layer("embedding")
    pairs = [
        (ours.token_embedding, embedding.tokens),
        (ours.position_embedding, embedding.positions),
        (ours.final_norm, stock.get_layer("final_norm")),
    ]
    for index, block in enumerate(ours.blocks):
        for name, layer in (
            ("attention", block.attention),
            ("attention_norm", block.attention_norm),
            ("intermediate", block.intermediate_dense),
            ("output", block.output_dense),
            ("feed_forward_norm", block.feed_forward_norm),
        ):
            pairs.append((layer, stock.get_layer(f"{name}_{index}")))
    for source, layer in pairs:
        for weight, target in zip(source.weights, layer.weights, strict=True):
            target.assign(keras.ops.reshape(weight, target.shape))


def make_data(batch, time):
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (batch, time + 1)).astype("int32")
    return tokens[:, :-1], tokens[:, 1:]


def train_step(who, model, token_ids, labels):
    """A function without arguments that trains for one step and returns the loss before it."""
    if who == STOCK:
        return lambda: float(model.train_on_batch(token_ids, labels))
    inputs = {"token_ids": token_ids, "labels": labels}
    return lambda: float(model.train_on_batch(inputs))


def measure_policy(batch, sizes, policy, repeats):
    time, width, _, layers = sizes
    token_ids, labels = make_data(batch, time)
    keras.utils.set_random_seed(7)
    first = compiled("ours", sizes, policy)
    functions, losses = {}, {}
    for who in BUILDERS:
        for jit_compile in (False, True):
            model = compiled(who, sizes, policy, jit_compile)
            if who == STOCK:
                copy_weights(first, model)
            else:
                model.set_weights(first.get_weights())
            name = f"{who}{' jit' * jit_compile}"
            functions[name] = train_step(who, model, token_ids, labels)
            # The thing timed is the thing checked: the first losses, before and after an update.
            losses[name] = [functions[name](), functions[name]()]
    limit = 1e-4 if policy == "float32" else 1e-2
    for name, values in losses.items():
        np.testing.assert_allclose(values, losses[STOCK], rtol=limit, err_msg=name)
    times = measure.interleave(functions, repeats)
    baseline = min((STOCK, f"{STOCK} jit"), key=lambda name: np.median(times[name]))
    # Dense layers (12 width^2 a token), causal attention (two products of time x width by half)
    # and logits, 2 flops each, forward and twice that backward.
    weights = layers * (12 * width * width + time * width) + width * VOCABULARY
    shape = f"{batch} x {time}, {width} x {layers}"
    dtypes = dict.fromkeys(times, policy)
    rows = measure.rows(
        "train step", shape, times, dtypes, baseline, flops=6 * batch * time * weights
    )
    for row in rows:
        row.peak_mb = measure.peak_memory(
            "benchmarks.language_model",
            *row.who.split()[:1],
            policy,
            int("jit" in row.who),
            batch,
            *sizes,
        )
    return rows


def print_peak_memory(who, policy, jit_compile, batch, *sizes):
    """Prints by how many megabytes a step raises this process's peak memory, after one of a row."""
    model = compiled(who, sizes, policy, bool(jit_compile))
    train_step(who, model, *make_data(1, sizes[0]))()
    step = train_step(who, model, *make_data(batch, sizes[0]))
    with measure.peak_of_this_process() as peak:
        for _ in range(3):
            step()
    print(peak["megabytes"])


def run(quick=False):
    for batch, *sizes in SHAPES[:1] if quick else SHAPES:
        for policy in POLICIES:
            yield measure_policy(batch, sizes, policy, repeats=5 if quick else 11)


if __name__ == "__main__":
    print_peak_memory(*sys.argv[1:3], *map(int, sys.argv[3:]))
