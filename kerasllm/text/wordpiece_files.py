"""The files of a WordPiece tokenizer: vocab.txt and wordpiece_tokenizer.json."""

import json
import pathlib

from kerasllm.files import atomic_write
from kerasllm.text.config_file import read_config
from kerasllm.text.wordpiece_vocabulary import write_wordpiece_vocabulary

_FORMAT = "kerasllm.wordpiece_tokenizer"
_VERSION = 1
_CONFIG_FILE = "wordpiece_tokenizer.json"
_VOCABULARY_FILE = "vocab.txt"


def save_wordpiece_tokenizer(tokenizer, folder):
    """Writes both files.

    Args:
        tokenizer: A `WordPieceTokenizer`.
        folder: The folder to write to; made if it is missing.
    """
    folder = pathlib.Path(folder)
    write_wordpiece_vocabulary(folder / _VOCABULARY_FILE, tokenizer.tokens)
    config = {"format": _FORMAT, "version": _VERSION, **tokenizer.get_config()}
    del config["vocabulary"]
    with atomic_write(folder / _CONFIG_FILE) as file:
        json.dump(config, file, ensure_ascii=False, indent=2)


def read_wordpiece_tokenizer(folder):
    """Reads what `save_wordpiece_tokenizer` wrote.

    Args:
        folder: The folder.

    Returns:
        `(path, options)`: the path of the vocabulary, and a dict of the other arguments.

    Raises:
        FileNotFoundError: If wordpiece_tokenizer.json is missing.
        ValueError: If it is broken, or not of this kind or version.
    """
    folder = pathlib.Path(folder)
    path = folder / _CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no saved tokenizer: {path.name} is missing.")
    options = read_config(path, "tokenizer", _FORMAT, _VERSION)
    del options["format"], options["version"]
    return folder / _VOCABULARY_FILE, options
