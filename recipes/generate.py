"""Goes on with a text by a language model.

    python recipes/generate.py --model-dir runs/lm --prompt "To be, or" --stream
    python recipes/generate.py --model-dir runs/tang --verse --num-texts 3 --seed 1
    python recipes/generate.py --model-dir Qwen3-0.6B --prompt "床前明月光" --temperature 0

The folder is one that recipes/pretrain_lm.py wrote (model.keras, its tokenizer, metrics.json), or a
Hugging Face folder of GPT-2, Llama, Qwen2 or Qwen3. --verse keeps to the form of a quatrain: four
lines of five or of seven characters, each closed by its mark. Without --seed every call gives
another text, and the seed that gives it again is told on stderr.
"""

import argparse
import os
import pathlib
import random
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from kerasllm.generation import Sampling, TextGenerator, VerseForm
from kerasllm.models.language_model_folder import load_language_model

# What beam search has no use for.
NOT_WITH_BEAMS = (
    *("num_texts", "temperature", "top_k", "top_p", "min_p", "repetition_penalty"),
    *("stop", "seed", "stream", "verse"),
)


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model-dir", required=True, help="folder of pretrain_lm.py or of Hugging Face")
    add("--prompt", default="", help="what the text begins with")
    add("--max-tokens", type=int, default=128, help="most new tokens")
    add("--num-texts", type=int, default=1, help="number of texts")
    add("--temperature", type=float, default=1.0, help="0 takes the likeliest token")
    add("--top-k", type=int, default=0, help="only the k likeliest tokens")
    add("--top-p", type=float, default=1.0, help="only the likeliest of together this probability")
    add("--min-p", type=float, default=0.0, help="only tokens of this share of the likeliest")
    add("--repetition-penalty", type=float, default=1.0, help="above 1: fewer repetitions")
    add("--num-beams", type=int, default=1, help="above 1: beam search, without sampling")
    add("--stop", nargs="*", default=[], help="strings that end the text")
    add("--seed", type=int, help="gives the same text again")
    add("--stream", action="store_true", help="print the text as it comes")
    add("--verse", action="store_true", help="four lines of five or seven characters")
    add("--dtype-policy", help="such as mixed_bfloat16; that of training by default")
    return parser.parse_args(arguments)


def load(folder, dtype_policy):
    """The generator of a folder."""
    model, tokenizer = load_language_model(folder, dtype_policy)
    if not (pathlib.Path(folder) / "model.keras").is_file():
        return TextGenerator(model, tokenizer)
    # In training every document begins with the end token.
    return TextGenerator(model, tokenizer, start_ids=[tokenizer.end_id])


def check(arguments):
    for name in ("max_tokens", "num_texts", "num_beams"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"{_option(name)} is {getattr(arguments, name)}; expected 1 or more.")
    if arguments.stream and arguments.num_texts > 1:
        raise ValueError("--stream prints one text; leave it out, or --num-texts.")
    if arguments.num_beams > 1:
        defaults = parse_arguments(["--model-dir", ""])
        given = [
            _option(name)
            for name in NOT_WITH_BEAMS
            if getattr(arguments, name) != getattr(defaults, name)
        ]
        if given:
            raise ValueError(
                f"--num-beams prints the one likeliest text; leave it out, or {', '.join(given)}."
            )


def _option(name):
    return "--" + name.replace("_", "-")


def generate(arguments):
    check(arguments)
    generator = load(arguments.model_dir, arguments.dtype_policy)
    prompt, prompts = arguments.prompt, [arguments.prompt] * arguments.num_texts
    if arguments.num_beams > 1:
        (text,) = generator.generate(
            prompts, max_tokens=arguments.max_tokens, num_beams=arguments.num_beams
        )
        print(prompt + text)
        return
    seed = arguments.seed
    if seed is None:
        seed = random.SystemRandom().randrange(2**31)
    sampling = Sampling(
        arguments.temperature,
        arguments.top_k,
        arguments.top_p,
        arguments.min_p,
        arguments.repetition_penalty,
        seed,
    )
    constraint = VerseForm(generator.tokenizer, prompt) if arguments.verse else None
    options = (sampling, arguments.max_tokens, arguments.stop, constraint)
    if arguments.stream:
        print(prompt, end="", flush=True)
        for piece in generator.stream(prompt, *options):
            print(piece, end="", flush=True)
        print()
    else:
        for text in generator.generate(prompts, *options):
            print(prompt + text)
    if arguments.seed is None and arguments.temperature > 0:
        print(f"--seed {seed}", file=sys.stderr)


def main(arguments=None):
    try:
        generate(parse_arguments(arguments))
    except (OSError, ValueError, TypeError, ImportError) as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
