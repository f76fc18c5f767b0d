"""The systems of benchmarks/generation.py, each in a process of its own.

    python -m benchmarks.generation_systems WHO DTYPE FOLDER

loads the model of a Hugging Face folder and answers lines of standard input, each a work and a
batch size, with a line of JSON: `tokens 8` with the greedy tokens of 8 texts, `time 8` with the
milliseconds that they took, `step 8` (ours alone) with those of one step at several positions.
"""

import json
import os
import sys
import time

import numpy as np

PROMPT, NEW = 128, 128
POSITIONS = (128, 1000)
STEPS = 16  # of which the time of one is the share


def prompts(batch, vocabulary_size):
    return np.random.default_rng(batch).integers(0, vocabulary_size, (batch, PROMPT), "int32")


class Ours:
    def __init__(self, folder, dtype):
        from kerasllm.generation import DecoderPool
        from kerasllm.models import CausalLM

        self.model = CausalLM.from_pretrained(folder, dtype=dtype)
        self.vocabulary_size, self.decoders = self.model.vocabulary_size, DecoderPool()

    def generate(self, prompts):
        from kerasllm.generation import generate_tokens

        steps = generate_tokens(self.model, prompts.tolist(), NEW, decoders=self.decoders)
        return np.stack(list(steps), axis=1)

    def step(self, batch):
        """Milliseconds of a step at each of `POSITIONS`, interleaved."""
        from benchmarks import measure
        from kerasllm.generation import Sampling, make_decoder

        decoder = make_decoder(self.model, batch, self.model.max_length)
        decoder.prefill(np.ones((batch, PROMPT), "int32"))
        tokens, uniform = np.ones(batch, "int32"), np.zeros((STEPS, batch), "float32")

        def at(position):
            def steps():
                decoder.length = position
                np.array(decoder.decode(tokens, uniform, Sampling(temperature=0))[0])

            return steps

        functions = {position: at(position) for position in POSITIONS}
        times = measure.interleave(functions, repeats=7, warmup=1)
        return {key: [each / STEPS for each in values] for key, values in times.items()}


class KerasHub:
    def __init__(self, folder, dtype, jit_compile):
        import keras_hub

        from kerasllm.models import CausalLM

        source = CausalLM.from_pretrained(folder, dtype=dtype)
        backbone = keras_hub.models.GPT2Backbone(
            vocabulary_size=source.vocabulary_size,
            num_layers=source.num_layers,
            num_heads=source.num_heads,
            hidden_dim=source.hidden_dim,
            intermediate_dim=source.feed_forward_dim,
            max_sequence_length=source.max_length,
            dropout=0.0,
            dtype=dtype,
        )
        copy_to_keras_hub(source, backbone)
        self.vocabulary_size = source.vocabulary_size
        self.model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
        self.model.compile(sampler="greedy", jit_compile=jit_compile)

    def generate(self, prompts):
        shape = (prompts.shape[0], PROMPT + NEW)
        token_ids, mask = np.zeros(shape, "int32"), np.zeros(shape, "int32")
        token_ids[:, :PROMPT], mask[:, :PROMPT] = prompts, 1
        inputs = {"token_ids": token_ids, "padding_mask": mask}
        # No token ends a text.
        outputs = self.model.generate(inputs, stop_token_ids=None)
        return np.array(outputs["token_ids"])[:, PROMPT:]


def copy_to_keras_hub(ours, backbone):
    import keras

    backbone.token_embedding.embeddings.assign(ours.token_embedding.embeddings)
    backbone.position_embedding.position_embeddings.assign(ours.position_embedding.embeddings)
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


class Transformers:
    def __init__(self, folder, dtype):
        import torch
        import transformers

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype)
        )
        self.vocabulary_size = self.model.config.vocab_size

    def generate(self, prompts):
        import torch

        prompts = torch.tensor(prompts)
        with torch.inference_mode():
            tokens = self.model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=NEW,
                min_new_tokens=NEW,
                do_sample=False,
                pad_token_id=0,
            )
        return tokens[:, PROMPT:].numpy()


SYSTEMS = {
    "keras-hub": lambda folder, dtype: KerasHub(folder, dtype, jit_compile=False),
    "keras-hub jit": lambda folder, dtype: KerasHub(folder, dtype, jit_compile=True),
    "transformers": Transformers,
    "ours": Ours,
}


def answer(system, work, batch):
    if work == "step":
        return system.step(batch)
    texts = prompts(batch, system.vocabulary_size)
    start = time.perf_counter()
    tokens = system.generate(texts)
    milliseconds = (time.perf_counter() - start) * 1e3
    return {"tokens": tokens.tolist(), "time": milliseconds}[work]


def main(who, dtype, folder):
    # Answers alone go to standard output; what libraries print does not.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    system = SYSTEMS[who](folder, dtype)
    for line in sys.stdin:
        work, batch = line.split()
        print(json.dumps(answer(system, work, int(batch))), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
