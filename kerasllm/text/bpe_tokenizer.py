"""Byte-level byte-pair encoding, through the `tokenizers` library."""

import hashlib
import json
import pathlib

from kerasllm.files import read_json_object, replace_file

END_TOKEN = "<|endoftext|>"
_TOKENIZER_FILE = "tokenizer.json"
# Where a Hugging Face folder says which token ends a text.
_CONFIG_FILES = ("tokenizer_config.json", "generation_config.json", "config.json")


class BPETokenizer:
    """Turns texts into ids of byte pairs and back; no text is unknown to it.

    A text's UTF-8 bytes are joined by learned merges (Sennrich, Haddow and Birch, Neural Machine
    Translation of Rare Words with Subword Units, 2016; over bytes: Radford et al., Language Models
    are Unsupervised Multitask Learners, 2019). A Chinese character takes one token or up to three,
    so a part of a text's tokens may end within a character. Needs the `tokenizers` package, which
    the extra `pretrained` brings.

    Examples:

    >>> tokenizer = BPETokenizer.fit(["春眠不觉晓，处处闻啼鸟。"] * 3, 300)
    >>> tokenizer.decode(tokenizer.encode(["春眠不觉晓"])[0])
    '春眠不觉晓'

    `BPETokenizer.load` reads what `save` wrote, and Hugging Face folders.

    Args:
        tokenizer: A `tokenizers.Tokenizer`.
        end_id: The id of the token between documents.
        end_ids: All ids that end a text, a chat's turns among them; `end_id` alone by default.
    """

    def __init__(self, tokenizer, end_id, end_ids=()):
        self._tokenizer = tokenizer
        self.end_id = end_id
        self.end_ids = tuple(dict.fromkeys([end_id, *end_ids]))

    @classmethod
    def fit(cls, texts, vocabulary_size, min_frequency=2):
        """Learns the merges of a corpus.

        Args:
            texts: An iterable of str.
            vocabulary_size: Number of ids, those of the 256 bytes and of the end token included.
            min_frequency: Smallest number of occurrences of a pair that is merged.

        Raises:
            ValueError: If `vocabulary_size` is below 257.
        """
        if vocabulary_size < 257:
            raise ValueError(
                f"vocabulary_size is {vocabulary_size}; the 256 bytes and the end token need 257."
            )
        tokenizers = _library()
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        byte_level = tokenizers.pre_tokenizers.ByteLevel
        tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            min_frequency=min_frequency,
            special_tokens=[END_TOKEN],
            initial_alphabet=sorted(byte_level.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer, tokenizer.token_to_id(END_TOKEN))

    def __len__(self):
        return self._tokenizer.get_vocab_size()

    @property
    def tokens(self):
        """All tokens, in the letters that stand for bytes; a token's place is its id."""
        return [self._tokenizer.id_to_token(token_id) for token_id in range(len(self))]

    @property
    def fingerprint(self):
        """A str that is the same only for the same ids of all texts."""
        content = self._tokenizer.to_str().encode("utf-8", "surrogatepass")
        return f"bpe {self.end_id} {hashlib.blake2b(content, digest_size=16).hexdigest()}"

    @property
    def start_ids(self):
        """The ids that the tokenizer's post-processor puts before a text, such as Llama's begin of
        a text: a tuple, often empty. `encode` does not put them there."""
        encoding = self._tokenizer.encode("a", add_special_tokens=True)
        is_special = encoding.special_tokens_mask
        return tuple(encoding.ids[: is_special.index(0)]) if 0 in is_special else ()

    def encode(self, texts):
        """The ids of each text: a list of lists, without special ids around them.

        Args:
            texts: A list (or any iterable) of str. A lone surrogate becomes U+FFFD.
        """
        texts = [
            text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts
        ]
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, token_ids):
        """The text of ids, the end token left out; what is no whole character is U+FFFD.

        Args:
            token_ids: A list or array of ids, `(tokens,)`.

        Raises:
            ValueError: If an id is out of range.
        """
        ids = [int(token_id) for token_id in token_ids]
        for token_id in ids:
            if not 0 <= token_id < len(self):
                raise ValueError(f"There is no token {token_id}; ids go from 0 to {len(self) - 1}.")
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def save(self, folder):
        """Writes `tokenizer.json` and `tokenizer_config.json` into a folder, as Hugging Face's
        libraries read them."""
        folder = pathlib.Path(folder)
        with replace_file(folder / _TOKENIZER_FILE) as path:
            self._tokenizer.save(str(path))
        end_token = self._tokenizer.id_to_token(self.end_id)
        with replace_file(folder / _CONFIG_FILES[0]) as path:
            config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end_token}
            path.write_text(json.dumps(config), encoding="utf-8")

    @classmethod
    def load(cls, folder):
        """Reads a folder that `save` or Hugging Face's libraries wrote: `tokenizer.json`, or
        `vocab.json` and `merges.txt` of a GPT-2.

        `end_ids` are those that `tokenizer_config.json`, `generation_config.json` and `config.json`
        name together, `end_id` the first of them.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is broken, or does not say which token ends a text, or if
                `vocab.json` and `merges.txt` are those of another model, whose way to cut texts
                they do not hold.
        """
        tokenizers, folder = _library(), pathlib.Path(folder)
        path = folder / _TOKENIZER_FILE
        parts = [folder / "vocab.json", folder / "merges.txt"]
        if not path.is_file() and all(part.is_file() for part in parts):
            _check_is_gpt2(folder)
        try:
            if path.is_file():
                tokenizer = tokenizers.Tokenizer.from_file(str(path))
            elif all(part.is_file() for part in parts):
                tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(*map(str, parts)))
                tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
                    add_prefix_space=False
                )
                tokenizer.decoder = tokenizers.decoders.ByteLevel()
                if tokenizer.token_to_id(END_TOKEN) is not None:
                    tokenizer.add_special_tokens([END_TOKEN])
            else:
                raise FileNotFoundError(
                    f"{folder} holds no tokenizer: {path.name} is missing, and so are vocab.json "
                    "with merges.txt."
                )
        except FileNotFoundError:
            raise
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"{folder} has a tokenizer that cannot be read: {error}") from error
        # A saved one may truncate and pad, which is none of its business here.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        end_ids = _end_ids(folder, tokenizer)
        return cls(tokenizer, end_ids[0], end_ids)


def _check_is_gpt2(folder):
    model_type = _config(folder / "config.json").get("model_type", "gpt2")
    if model_type != "gpt2":
        raise ValueError(
            f"{folder} has no tokenizer.json, and its vocab.json and merges.txt do not say how "
            f"{model_type} cuts texts. Write it with transformers: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
        )


def _end_ids(folder, tokenizer):
    """All ids that end a text, the one of the first file first."""
    ids = []
    for name in _CONFIG_FILES:
        config = _config(folder / name)
        token = config.get("eos_token")
        if token is not None:
            token = token["content"] if isinstance(token, dict) else token
            if tokenizer.token_to_id(token) is None:
                raise ValueError(
                    f"{folder / name} has eos_token {token!r}, which is not in the vocabulary."
                )
            ids.append(tokenizer.token_to_id(token))
        token_ids = config.get("eos_token_id")
        if token_ids is not None:
            ids += token_ids if isinstance(token_ids, list) else [token_ids]
    if not ids and tokenizer.token_to_id(END_TOKEN) is not None:
        ids.append(tokenizer.token_to_id(END_TOKEN))
    if not ids:
        raise ValueError(
            f"{folder} does not say which token ends a text: eos_token in tokenizer_config.json or "
            "eos_token_id in config.json is missing."
        )
    return ids


def _config(path):
    """What a JSON file holds; nothing where there is none."""
    return read_json_object(path) if path.is_file() else {}


def _library():
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise ImportError(
            "Byte-pair encoding needs the tokenizers package: pip install 'kerasllm[pretrained]'."
        ) from error
    return tokenizers
