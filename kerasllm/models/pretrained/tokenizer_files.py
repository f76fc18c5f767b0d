"""The tokenizer of a Hugging Face folder: vocab.txt, tokenizer.json, tokenizer_config.json."""

import json
import pathlib

from kerasllm.files import read_json_object
from kerasllm.models.pretrained.download import find_folder
from kerasllm.text.wordpiece_tokenizer import WordPieceTokenizer
from kerasllm.text.wordpiece_vocabulary import read_wordpiece_vocabulary

VOCABULARY_FILE, TOKENIZER_FILE = "vocab.txt", "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
# Keys of tokenizer_config.json for arguments of WordPieceTokenizer.
_SWITCHES = {
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "split_cjk": "tokenize_chinese_chars",
}
_TOKENS = ("unknown_token", "cls_token", "sep_token", "pad_token", "mask_token")


def load_tokenizer(folder, revision=None):
    """The tokenizer of a pretrained folder.

    Examples:

    >>> tokenizer = kerasllm.models.pretrained.load_tokenizer("chinese-macbert-base")
    >>> model.predict(tokenizer.encode(["味道真好"]))

    Args:
        folder: A folder with vocab.txt or tokenizer.json, or a name on the Hugging Face Hub.
        revision: Of a name on the Hub: a branch, a tag or a commit.

    Returns:
        A `kerasllm.text.WordPieceTokenizer`.

    Raises:
        FileNotFoundError: If there is no vocabulary.
        ValueError: If a file is broken, or the tokenizer is of another kind.
    """
    folder = find_folder(folder, revision)
    options = _read_options(folder / CONFIG_FILE)
    if (folder / VOCABULARY_FILE).is_file():
        return WordPieceTokenizer(read_wordpiece_vocabulary(folder / VOCABULARY_FILE), **options)
    if (folder / TOKENIZER_FILE).is_file():
        tokens, found = _read_tokenizer_json(folder / TOKENIZER_FILE)
        return WordPieceTokenizer(tokens, **options | found)
    raise FileNotFoundError(
        f"{folder} holds no vocabulary: {VOCABULARY_FILE} and {TOKENIZER_FILE} are missing."
    )


def check_vocabulary(folder, vocabulary_size, allow_unused_rows):
    """Refuses a folder whose vocabulary has another size than its model.

    A folder without a WordPiece vocabulary is not refused: the model may be used with ids alone.
    """
    folder = pathlib.Path(folder)
    if (folder / VOCABULARY_FILE).is_file():
        path = folder / VOCABULARY_FILE
        count = len(read_wordpiece_vocabulary(path))
    elif (folder / TOKENIZER_FILE).is_file():
        path = folder / TOKENIZER_FILE
        if read_json_object(path).get("model", {}).get("type") != "WordPiece":
            return
        count = len(_read_tokenizer_json(path)[0])
    else:
        return
    if count > vocabulary_size:
        raise ValueError(
            f"{path} has {count} tokens, but the model has {vocabulary_size}: they do not belong "
            "together."
        )
    if count < vocabulary_size and not allow_unused_rows:
        raise ValueError(
            f"{path} has {count} tokens, but the model has {vocabulary_size}: they do not belong "
            "together, or the file is cut off. If the model's table is padded, say "
            "allow_unused_rows=True."
        )


def tokenizer_files(tokenizer, max_length):
    """What `save_pretrained` writes for a tokenizer: a dict of file name to text."""
    config = {key: getattr(tokenizer, argument) for argument, key in _SWITCHES.items()}
    config |= {
        "unk_token" if name == "unknown_token" else name: getattr(tokenizer, name)
        for name in _TOKENS
    }
    config |= {"tokenizer_class": "BertTokenizer", "model_max_length": max_length}
    return {
        VOCABULARY_FILE: "".join(f"{token}\n" for token in tokenizer.tokens),
        CONFIG_FILE: json.dumps(config, ensure_ascii=False, indent=2) + "\n",
    }


def _read_options(path):
    """The arguments of WordPieceTokenizer that a tokenizer_config.json sets."""
    if not path.is_file():
        return {}
    config = read_json_object(path)
    options = {}
    for argument, key in _SWITCHES.items():
        if isinstance(config.get(key), bool):
            options[argument] = config[key]
    for name in _TOKENS:
        token = config.get("unk_token" if name == "unknown_token" else name)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            options[name] = token
    return options


def _read_tokenizer_json(path):
    """The tokens of a tokenizer.json, and the arguments that its normalizer sets."""
    content = read_json_object(path)
    model = content.get("model") or {}
    if model.get("type") != "WordPiece" or not isinstance(model.get("vocab"), dict):
        raise ValueError(f"{path} is of type {model.get('type')!r}; only WordPiece can be read.")
    ids = dict(model["vocab"])
    for token in content.get("added_tokens") or []:
        ids.setdefault(token["content"], token["id"])
    tokens = sorted(ids, key=ids.get)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError(f"{path}: the ids of its vocabulary are not 0 to {len(tokens) - 1}.")
    normalizer = content.get("normalizer") or {}
    keys = {
        "lowercase": "lowercase",
        "strip_accents": "strip_accents",
        "split_cjk": "handle_chinese_chars",
    }
    options = {
        argument: normalizer[key]
        for argument, key in keys.items()
        if isinstance(normalizer.get(key), bool)
    }
    if isinstance(model.get("unk_token"), str):
        options["unknown_token"] = model["unk_token"]
    return tokens, options
