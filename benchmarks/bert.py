"""BERT with a classifier: ours, KerasHub's on TensorFlow and transformers' on PyTorch.

All three have the same weights, and their logits are compared first. They predict, and train a step
of AdamW with dropout, on a batch of 8 texts of 128 tokens; and they predict a batch of 8 headlines
of 20 to 30 characters, each padded as its library does by default: ours and transformers to the
longest, KerasHub to 512. The ratio is that to the faster of the two peers in the same dtype. In
bfloat16 all three predict with bfloat16 weights, as one would serve them, and train with float32
ones: PyTorch with autocast, KerasHub and ours by the policy mixed_bfloat16. "jit" is Keras's
jit_compile. Needs keras-hub, torch and transformers (extras of the tests).
"""

import gc
import os
import statistics
import tempfile

import keras
import numpy as np
import tensorflow as tf

import kerasllm
from benchmarks import measure
from kerasllm.models import BertClassifier

VOCABULARY, CLASSES, BATCH, TIME, MAX_LENGTH = 21128, 10, 8, 128, 512
BASE, QUICK = (768, 12, 12), (256, 4, 4)  # width, heads, layers
PREDICT_POLICIES, TRAIN_POLICIES = ("float32", "bfloat16"), ("float32", "mixed_bfloat16")
LEARNING_RATE = 1e-5


def make_transformers(width, heads, layers):
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=MAX_LENGTH,
        hidden_act="gelu_pytorch_tanh",  # KerasHub's
        num_labels=CLASSES,
    )
    return transformers.BertForSequenceClassification(config)


def make_keras_hub(ours, policy):
    """KerasHub's backbone, and its classifier's dropout and dense layer, with our weights."""
    import keras_hub

    mine = ours.backbone
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=mine.num_layers,
        num_heads=mine.num_heads,
        hidden_dim=mine.hidden_dim,
        intermediate_dim=mine.feed_forward_dim,
        max_sequence_length=MAX_LENGTH,
        dtype=policy,
    )
    x = keras.layers.Dropout(0.1)(backbone.output["pooled_output"])
    logits = keras.layers.Dense(CLASSES, dtype="float32")(x)
    model = keras.Model(backbone.input, logits)
    for target, value in zip(model.trainable_weights, in_keras_hubs_order(ours), strict=True):
        target.assign(keras.ops.reshape(value, target.shape))
    return model


def in_keras_hubs_order(ours):
    """Our weights, where the second normalisation of a block comes before its dense layers."""
    backbone = ours.backbone
    yield from backbone.embedding.weights + backbone.embedding_norm.weights
    for block in backbone.blocks:
        yield from block.attention.weights + block.attention_norm.weights
        yield from block.feed_forward_norm.weights
        yield from block.intermediate_dense.weights + block.output_dense.weights
    yield from backbone.pooler.weights + ours.output_dense.weights


def make_inputs(lengths, padded):
    """Random texts of these lengths, as ours."""
    random = np.random.default_rng(0)
    mask = np.arange(padded) < np.asarray(lengths)[:, None]
    token_ids = random.integers(5, VOCABULARY, (len(lengths), MAX_LENGTH))[:, :padded]
    return {
        "token_ids": np.where(mask, token_ids, 0).astype("int32"),
        "segment_ids": np.zeros_like(token_ids, "int32"),
        "padding_mask": mask,
    }


def for_torch(inputs):
    import torch

    names = {"token_ids": "input_ids", "segment_ids": "token_type_ids"}
    names["padding_mask"] = "attention_mask"
    return {name: torch.from_numpy(inputs[ours].astype("int64")) for ours, name in names.items()}


def keras_predict(model, inputs, jit_compile=False):
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    function = tf.function(lambda x: model(x, training=False), jit_compile=jit_compile)
    return lambda: function(inputs).numpy()


def torch_predict(model, inputs):
    import torch

    inputs = for_torch(inputs)

    def run():
        with torch.inference_mode():
            return model(**inputs).logits.float().numpy()

    return run


def keras_train(model, optimizers, inputs, labels, jit_compile=False):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers.AdamW(LEARNING_RATE), loss, jit_compile=jit_compile)
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    labels = tf.constant(labels)
    return lambda: model.train_on_batch(inputs, labels)


def torch_train(model, inputs, labels, policy):
    import torch

    inputs = for_torch(inputs) | {"labels": torch.from_numpy(labels)}
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, fused=True)
    model.train()

    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=policy != "float32"):
            loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return run


def three(sizes, policy):
    """Ours, KerasHub's and transformers' model, with the same weights."""
    import transformers

    theirs = make_transformers(*sizes)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = BertClassifier.from_pretrained(folder, dtype=policy)
    return ours, make_keras_hub(ours, policy), theirs.eval()


def check_equality(functions, policy):
    results = {name: function() for name, function in functions.items()}
    reference = results["transformers"]
    limit = 1e-4 if policy == "float32" else 5e-2
    for name, result in results.items():
        difference = np.abs(result - reference).max()
        if not difference <= limit * max(1.0, np.abs(reference).max()):
            raise AssertionError(f"{name} differs from transformers by {difference}")


def table_rows(work, shape, times, policy, flops):
    peers = [name for name in times if not name.startswith("ours")]
    best = min(peers, key=lambda name: statistics.median(times[name]))
    dtypes = dict.fromkeys(times, policy)
    rows = measure.rows(work, shape, times, dtypes, best, flops)
    return rows


def predict_rows(sizes, repeats):
    lengths = np.random.default_rng(1).integers(22, 33, BATCH)  # headlines, [CLS] and [SEP]
    rows = []
    for policy in PREDICT_POLICIES:
        ours, keras_hub, transformers = three(sizes, policy)
        if policy != "float32":
            import torch

            transformers = transformers.to(torch.bfloat16)
        texts = make_inputs([TIME] * BATCH, TIME)
        functions = {
            "ours": keras_predict(ours, texts),
            "ours jit": keras_predict(ours, texts, jit_compile=True),
            "keras-hub": keras_predict(keras_hub, texts),
            "keras-hub jit": keras_predict(keras_hub, texts, jit_compile=True),
            "transformers": torch_predict(transformers, texts),
        }
        check_equality(functions, policy)
        shape = f"{BATCH} x {TIME}, width {sizes[0]}"
        times = measure.interleave(functions, repeats)
        rows += table_rows("predict", shape, times, policy, flops(sizes, TIME))

        short = make_inputs(lengths, 32)
        functions = {
            "ours": keras_predict(ours, short),
            "keras-hub": keras_predict(keras_hub, make_inputs(lengths, MAX_LENGTH)),
            "transformers": torch_predict(transformers, short),
        }
        check_equality(functions, policy)
        shape = f"{BATCH} headlines, width {sizes[0]}"
        times = measure.interleave(functions, repeats)
        rows += table_rows("predict", shape, times, policy, flops(sizes, 32))
    return rows


def train_rows(sizes, repeats):
    rows = []
    texts = make_inputs([TIME] * BATCH, TIME)
    labels = np.random.default_rng(2).integers(0, CLASSES, BATCH)
    for policy in TRAIN_POLICIES:
        ours, keras_hub, transformers = three(sizes, policy)
        functions = {
            "ours": keras_train(ours, kerasllm.optimizers, texts, labels),
            "keras-hub": keras_train(keras_hub, keras.optimizers, texts, labels),
            "transformers": torch_train(transformers, texts, labels, policy),
        }
        times = measure.interleave(functions, repeats)
        shape = f"{BATCH} x {TIME}, width {sizes[0]}"
        rows += table_rows("train step", shape, times, policy, 3 * flops(sizes, TIME))
        del ours, keras_hub, transformers, functions
        gc.collect()
    return rows


def flops(sizes, time):
    """Of dense layers (12 width^2 a token) and attention (2 products of time x width)."""
    width, _, layers = sizes
    return 2 * BATCH * time * layers * (12 * width * width + 2 * time * width)


def run(quick=False):
    sizes, repeats = (QUICK, 3) if quick else (BASE, 5)
    yield predict_rows(sizes, repeats)
    yield train_rows(sizes, repeats)
