"""Decoding with GPT-2's shape, against KerasHub on TensorFlow and transformers on PyTorch.

All three have the same random weights and go on greedily from the same prompts; their tokens are
compared first, in float32. A time is that of a whole call for the prompt of 128 tokens and 128 new
ones; `step` is ours for one token at position 128 and at 1,000, by which the time per token should
hardly grow. Needs keras-hub, torch and transformers (extras of the tests).
"""

import functools
import os
import tempfile

import keras
import numpy as np
import tensorflow as tf

from benchmarks import measure
from kerasllm.generation import generate_tokens, make_decoder
from kerasllm.models import CausalLM

PROMPT, NEW = 128, 128
BATCHES = (1, 8)
DTYPES = ("float32", "bfloat16")
QUICK = {"vocabulary_size": 1000, "hidden_dim": 64, "num_layers": 2, "num_heads": 2}


def make_ours(dtype, quick):
    sizes = {"max_length": 1024, **(QUICK if quick else {})}
    return CausalLM.from_preset("gpt2" if quick else "gpt2_124m", **{"dtype": dtype, **sizes})


def make_torch(folder, dtype):
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))

    def generate(prompts):
        prompts = torch.tensor(prompts)
        with torch.inference_mode():
            tokens = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=NEW,
                min_new_tokens=NEW,
                do_sample=False,
                pad_token_id=0,
            )
        return tokens[:, PROMPT:].numpy()

    return generate


def make_keras_hub(ours, dtype):
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=ours.vocabulary_size,
        num_layers=ours.num_layers,
        num_heads=ours.num_heads,
        hidden_dim=ours.hidden_dim,
        intermediate_dim=ours.feed_forward_dim,
        max_sequence_length=ours.max_length,
        dropout=0.0,
        dtype=dtype,
    )
    model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    copy_to_keras_hub(ours, backbone)
    # Greedy, and no token ends a text.
    model.compile(sampler="greedy")

    def generate(prompts):
        shape = (prompts.shape[0], PROMPT + NEW)
        token_ids, mask = np.zeros(shape, "int32"), np.zeros(shape, "int32")
        token_ids[:, :PROMPT], mask[:, :PROMPT] = prompts, 1
        inputs = {"token_ids": token_ids, "padding_mask": mask}
        outputs = model.generate(inputs, stop_token_ids=None)
        return np.array(outputs["token_ids"])[:, PROMPT:]

    return generate


def copy_to_keras_hub(ours, backbone):
    embedding = backbone.embeddings
    embedding.token_embedding.embeddings.assign(ours.token_embedding.embeddings)
    embedding.position_embedding.position_embeddings.assign(ours.position_embedding.embeddings)
    for block, theirs in zip(ours.blocks, backbone.transformer_layers, strict=True):
        attention, peer = block.attention, theirs._self_attention_layer
        pairs = [
            (attention.query_dense, peer._query_dense),
            (attention.key_dense, peer._key_dense),
            (attention.value_dense, peer._value_dense),
            (attention.output_dense, peer._output_dense),
            (block.attention_norm, theirs._self_attention_layer_norm),
            (block.intermediate_dense, theirs._feedforward_intermediate_dense),
            (block.output_dense, theirs._feedforward_output_dense),
            (block.feed_forward_norm, theirs._feedforward_layer_norm),
        ]
        for mine, other in pairs:
            for weight, target in zip(mine.weights, other.weights, strict=True):
                target.assign(keras.ops.reshape(weight, target.shape))
    for weight, target in zip(ours.final_norm.weights, backbone.layer_norm.weights, strict=True):
        target.assign(weight)


def make_generate(model):
    decoders = {}

    def generate(prompts):
        steps = generate_tokens(model, prompts.tolist(), NEW, decoders=decoders)
        return np.stack(list(steps), axis=1)

    return generate


def step_times(model, batch, repeats):
    """Milliseconds of a step at position 128 and at 1,000, interleaved."""
    decoder = make_decoder(model, batch, model.max_length)
    decoder.prefill(np.ones((batch, PROMPT), "int32"))
    tokens = np.ones((batch,), "int32")

    def at(position):
        def step():
            decoder.length = position
            decoder.step(tokens).numpy()

        return step

    return measure.interleave_calls({"@128": at(128), "@1000": at(1000)}, calls=4, repeats=repeats)


def measure_dtype(dtype, quick, repeats):
    keras.utils.set_random_seed(0)
    ours = make_ours(dtype, quick)
    # Weights of some size, so that the likeliest token leads by more than rounding.
    for weight in ours.weights:
        if len(weight.shape) == 2:
            weight.assign(weight * 3.0)
    rows = []
    peers = {"keras-hub": make_keras_hub(ours, dtype)}
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        peers["transformers"] = make_torch(folder, dtype)
    for batch in BATCHES:
        random = np.random.default_rng(batch)
        prompts = random.integers(0, ours.vocabulary_size, (batch, PROMPT)).astype("int32")
        functions = {**peers, "ours": make_generate(ours)}
        tokens = {name: function(prompts) for name, function in functions.items()}
        if dtype == "float32":
            for name, found in tokens.items():
                if not np.array_equal(found, tokens["ours"]):
                    raise AssertionError(f"{name}'s greedy tokens are not ours")
        calls = {name: functools.partial(function, prompts) for name, function in functions.items()}
        times = measure.interleave(calls, repeats, warmup=1)
        baseline = min(peers, key=lambda name: np.median(times[name]))
        shape = f"{batch} x {PROMPT} + {NEW}"
        dtypes = dict.fromkeys(times, dtype)
        rows += measure.rows("generate", shape, times, dtypes, baseline)
        times = step_times(ours, batch, repeats)
        size = sum(np.prod(w.shape) for w in ours.weights) * tf.as_dtype(dtype).size
        rows += measure.rows(
            "step", f"batch {batch}", times, dict.fromkeys(times, dtype), "@128", size_bytes=size
        )
    return rows


def run(quick=False):
    rows = []
    for dtype in DTYPES:
        rows += measure_dtype(dtype, quick, repeats=3 if quick else 5)
    return rows
