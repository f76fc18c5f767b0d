"""Saving and loading a text pipeline."""

import json
import pathlib
import zlib

from kerasllm.files import atomic_write
from kerasllm.text.char_tokenizer import CharTokenizer
from kerasllm.text.cleaning import TextCleaner
from kerasllm.text.config_file import read_config
from kerasllm.text.jieba_tokenizer import JiebaTokenizer
from kerasllm.text.vocabulary import Vocabulary
from kerasllm.text.wordpiece_tokenizer import WordPieceTokenizer

# What a saved pipeline may name; a new tokenizer is a line here.
TOKENIZERS = {
    "CharTokenizer": CharTokenizer,
    "JiebaTokenizer": JiebaTokenizer,
    "WordPieceTokenizer": WordPieceTokenizer,
}

_FORMAT = "kerasllm.text_pipeline"
_VERSION = 1
PIPELINE_FILE = "text_pipeline.json"
_VOCABULARY_FILE = "vocabulary.txt"


def save(pipeline, folder):
    """What `TextPipeline.save` does."""
    name = type(pipeline.tokenizer).__name__
    if TOKENIZERS.get(name) is not type(pipeline.tokenizer):
        raise ValueError(
            f"A tokenizer of class {name} cannot be saved, only {', '.join(TOKENIZERS)}."
            " Add the class to kerasllm.text.TOKENIZERS, here and where it is loaded."
        )
    if type(pipeline.cleaner) is not TextCleaner:
        raise ValueError(
            f"A cleaner of class {type(pipeline.cleaner).__name__} cannot be saved, only a"
            " TextCleaner."
        )
    config = {
        "format": _FORMAT,
        "version": _VERSION,
        "cleaner": pipeline.cleaner.get_config(),
        "tokenizer": {"class": name, "config": pipeline.tokenizer.get_config()},
        "labels": pipeline.labels,
        "max_length": pipeline.max_length,
        "spell_unknown": pipeline.spell_unknown,
        "vocabulary_crc32": _checksum(pipeline.vocabulary),
    }
    folder = pathlib.Path(folder)
    pipeline.vocabulary.save(folder / _VOCABULARY_FILE)
    # A lone surrogate is the only thing UTF-8 lacks; its escape is also JSON's.
    content = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
    with atomic_write(folder / PIPELINE_FILE, "wb") as file:
        file.write(content.encode("utf-8", "backslashreplace"))


def load(pipeline_class, folder):
    """What `TextPipeline.load` does."""
    folder = pathlib.Path(folder)
    path = folder / PIPELINE_FILE
    for needed in (path, folder / _VOCABULARY_FILE):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{folder} holds no saved text pipeline: {needed.name} is missing."
            )
    config = read_config(path, "text pipeline", _FORMAT, _VERSION)
    vocabulary = Vocabulary.load(folder / _VOCABULARY_FILE)
    try:
        tokenizer_class = TOKENIZERS.get(config["tokenizer"]["class"])
        if tokenizer_class is None:
            raise ValueError(
                f"its tokenizer {config['tokenizer']['class']!r} is none of {', '.join(TOKENIZERS)}"
            )
        pipeline = pipeline_class(
            TextCleaner.from_config(config["cleaner"]),
            tokenizer_class.from_config(config["tokenizer"]["config"]),
            vocabulary,
            config["labels"],
            config["max_length"],
            config["spell_unknown"],
        )
        expected_checksum = config["vocabulary_crc32"]
    except KeyError as error:
        raise ValueError(f"{path} is broken: it lacks {error}.") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    if _checksum(vocabulary) != expected_checksum:
        raise ValueError(
            f"{folder / _VOCABULARY_FILE} is not the vocabulary that {PIPELINE_FILE} was"
            " saved with: other tokens or another order, so that every id may mean another"
            " token. Save the pipeline again, or bring the right file back."
        )
    return pipeline


def _checksum(vocabulary):
    """A number that another vocabulary, or another order, will hardly share."""
    return zlib.crc32("\0".join(vocabulary.tokens).encode("utf-8", "surrogatepass"))
