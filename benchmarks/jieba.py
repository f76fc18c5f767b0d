"""jieba's segmentation in C++ against jieba itself and, where it is installed, rjieba (in Rust).

All cut the same headlines. jieba, rjieba and our engine behind lists of str run on one core, the op
on all of TensorFlow's threads, and once more with all of them on one core.
"""

import importlib
import logging
import os
import pathlib
import warnings

import tensorflow as tf
from kerasllm_ops.jieba import JiebaDictionary, jieba_cut
from kerasllm_ops.jieba_engine import shared_engine

from benchmarks import measure
from kerasllm.data import read_table

STOCK = "jieba"


def read_corpus(count):
    """Headlines of the data set beside the project, or of the reviews in the package."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("KERASLLM_DATA", beside))
    path = folder / "thucnews_headlines" / "train.csv"
    if not path.is_file():
        path = pathlib.Path(__file__).parents[1] / "kerasllm" / "datasets" / "reviews" / "train.csv"
    rows, _ = read_table(path, text="text", label="label")
    return rows["text"].tolist()[:count]


def import_quietly(name):
    """A module, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def peers(mode, hmm, texts):
    """name -> function that gives the tokens of all texts."""
    jieba, rjieba = import_quietly("jieba"), import_quietly("rjieba")
    logging.getLogger("jieba").setLevel(logging.WARNING)
    if mode == "search":
        functions = {STOCK: lambda: [jieba.lcut_for_search(text, HMM=hmm) for text in texts]}
        theirs = rjieba and rjieba.Jieba().cut_for_search
    else:
        functions = {STOCK: lambda: [jieba.lcut(text, mode == "all", hmm) for text in texts]}
        theirs = rjieba and (rjieba.Jieba().cut_all if mode == "all" else rjieba.Jieba().cut)
    if theirs:
        arguments = () if mode == "all" else (hmm,)
        functions["rjieba"] = lambda: [theirs(text, *arguments) for text in texts]
    return functions


def run(quick=False):
    texts = read_corpus(2_000 if quick else 20_000)
    characters = sum(map(len, texts))
    engine, dictionary, tensor = shared_engine(), JiebaDictionary(), tf.constant(texts)
    rows = []
    for mode, hmm in [("cut", True), ("cut", False), ("all", False), ("search", True)]:
        functions = peers(mode, hmm, texts)
        expected = functions[STOCK]()
        functions["ours, lists"] = lambda m=mode, h=hmm: engine.cut(texts, m, h, keep_blanks=True)
        functions["ours, op"] = lambda m=mode, h=hmm: jieba_cut(
            tensor, dictionary, m, h, keep_blanks=True
        )
        functions["ours, op, 1 core"] = measure.on_cores(1, functions["ours, op"])
        if functions["ours, lists"]() != expected:
            raise AssertionError(f"mode={mode!r}, hmm={hmm}: tokens are not jieba's")
        found = functions["ours, op"]()[0].to_list()
        if [[word.decode() for word in words] for words in found] != expected:
            raise AssertionError(f"mode={mode!r}, hmm={hmm}: the op's tokens are not jieba's")
        if "rjieba" in functions:
            different = sum(a != b for a, b in zip(functions["rjieba"](), expected, strict=True))
            print(f"mode={mode!r}, hmm={hmm}: rjieba differs in {different} of {len(texts)} texts")
        times = measure.interleave(functions, repeats=3 if quick else 5, warmup=1)
        work = f"{mode}, hmm" if hmm else mode
        shape = f"{len(texts)} texts, {characters} ch."
        rows += measure.rows(work, shape, times, dict.fromkeys(functions, "string"), STOCK)
        for row in rows[-len(functions) :]:
            print(f"{work:12} {row.who:16} {characters / row.p50 / 1e3:6.2f} million characters/s")
    return rows
