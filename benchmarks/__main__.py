"""`python -m benchmarks NAME [--json FILE] [--quick]`: the measured claims of the README."""

import argparse
import importlib
import inspect
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks import measure

# A new benchmark is a module with run(quick) -> list of measure.Row, or a generator of such lists
# if it takes minutes, and a line here.
BENCHMARKS = {
    "accelerate": "a KerasHub BERT before and after kerasllm.accelerate",
    "adamw": "a step of Adam over a model's variables, against keras.optimizers.Adam",
    "attention": "attention forward and backward, against keras.ops.dot_product_attention",
    "bert": "BERT-base with a classifier, against KerasHub and transformers",
    "cuda": "the GPU kernels, against PyTorch; needs a GPU and PyTorch, no TensorFlow",
    "dense": "a dense layer's product, against tf.matmul",
    "embedding": "the embedding layer, forward and backward, against keras.layers.Embedding",
    "feed_forward": "a transformer's feed-forward branch, against two of Keras's dense layers",
    "gelu": "bias and activation, against keras.activations.gelu and silu behind an addition",
    "generation": "decoding with GPT-2's shape, against KerasHub and transformers",
    "jieba": "Chinese words, against jieba and rjieba",
    "language_model": "a training step of a small GPT, against the same of stock Keras layers",
    "layer_norm": "residual sum and normalisation, against keras.layers.LayerNormalization",
    "linear_cross_entropy": "a language model's last layer and its loss, against Dense and Keras's",
    "long_text": "a training step on one text of up to 16,384 tokens, against stock Keras layers",
    "lstm": "the LSTM layer and the classifier around it, against keras.layers.LSTM",
    "regularizers": "a train step with each regulariser, against the plain one",
    "tensorboard": "an epoch with the TensorBoard callback, against one without",
    "serving": "recipes/serve_text_model.py under load: sentences a second and latencies",
    "transformer": "the transformer classifier, against the same of stock Keras layers",
    "wordpiece": "BERT's tokenisation, against tokenizers and tensorflow-text",
}


def print_as_they_come(batches, table, rows):
    for batch in batches:
        print(table(batch, header=not rows), flush=True)
        rows += batch


def write_json(path, machine, rows):
    part = f"{path}.part"
    with open(part, "w", encoding="utf-8") as file:
        json.dump({"machine": machine, "rows": [vars(row) for row in rows]}, file, indent=1)
    os.replace(part, path)


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Interleaves ours and the peer and prints medians and ratios.",
        epilog="; ".join(f"{name}: {text}" for name, text in BENCHMARKS.items()),
    )
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    parser.add_argument("--json", metavar="FILE", help="also write the rows and the machine here")
    parser.add_argument("--quick", action="store_true", help="few repeats, to see that it runs")
    arguments = parser.parse_args()

    # A benchmark may have a machine and a table of its own.
    benchmark = importlib.import_module(f"benchmarks.{arguments.name}")
    machine = getattr(benchmark, "machine", measure.machine)()
    print("  ".join(f"{key}: {value}" for key, value in machine.items()))
    table = getattr(benchmark, "table", measure.table)
    batches, rows = benchmark.run(arguments.quick), []
    if not inspect.isgenerator(batches):
        rows = batches
        print(table(rows))
        batches = ()
    try:
        print_as_they_come(batches, table, rows)
    finally:  # what was measured before a failure stays
        if arguments.json:
            write_json(arguments.json, machine, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
