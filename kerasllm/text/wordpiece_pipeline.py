"""From raw texts to what a BERT takes, the same in training and prediction."""

import itertools
import json
import pathlib
import zlib

from kerasllm.files import atomic_write
from kerasllm.text.cleaning import TextCleaner
from kerasllm.text.config_file import read_config
from kerasllm.text.pipeline import TextPipeline, check_labels, find_label_ids
from kerasllm.text.pipeline_files import PIPELINE_FILE
from kerasllm.text.tokenizer import check_texts
from kerasllm.text.wordpiece_tokenizer import WordPieceTokenizer

_FORMAT = "kerasllm.wordpiece_pipeline"
_VERSION = 1


class WordPiecePipeline:
    """A cleaner and the tokenizer of a pretrained model, with the names of the classes.

    It has the methods of `TextPipeline`, so that training, prediction and explanation work alike
    with both; its vocabulary was learned long before.

    Examples:

    >>> tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"味道真好"])
    >>> pipeline = WordPiecePipeline(tokenizer, labels=["负面", "正面"], max_length=64)
    >>> pipeline.encode(["味道真好"])
    [[2, 5, 6, 7, 8, 3]]

    Args:
        tokenizer: A `WordPieceTokenizer`.
        labels: The names of the classes, each once, in the order of their ids; `None` if there are
            none.
        max_length: Number of ids to which longer texts are cut, `[CLS]` and `[SEP]` included;
            `None` for no limit.
        cleaner: A `TextCleaner`, or `None` for one with its defaults.

    Raises:
        ValueError: If a label is there twice, `max_length` is not a whole number from 2, or
            the id of padding is not 0.
        TypeError: If a label is not a str.
    """

    def __init__(self, tokenizer, labels=None, max_length=None, cleaner=None):
        if max_length is not None and (type(max_length) is not int or max_length < 2):
            raise ValueError(f"max_length={max_length!r} should be a whole number from 2, or None.")
        pad_id = tokenizer.token_to_id(tokenizer.pad_token)
        if pad_id != 0:  # batches are filled up with 0, and models take 0 for padding
            raise ValueError(f"The id of {tokenizer.pad_token} is {pad_id}; expected 0.")
        self.tokenizer = tokenizer
        self.labels = None if labels is None else check_labels(labels)
        self.max_length = max_length
        self.cleaner = TextCleaner() if cleaner is None else cleaner

    @property
    def vocabulary(self):
        """What has the tokens of all ids: the tokenizer itself."""
        return self.tokenizer

    def tokenize(self, texts) -> list[list[str]]:
        """Cleans texts and cuts them into tokens, without special ones, as
        `TextPipeline.tokenize`."""
        return self.tokenizer.segment([self.cleaner(text) for text in check_texts(texts)])

    def encode(self, texts) -> list[list[int]]:
        """The ids of texts.

        Args:
            texts: A list of str.

        Returns:
            A list of 2 to `max_length` ids for each text, `[CLS]` and `[SEP]` around it.

        Raises:
            TypeError: If `texts` is a single str, or holds something else than str.
        """
        texts = [self.cleaner(text) for text in check_texts(texts)]
        found = self.tokenizer.encode(texts, max_length=self.max_length)
        lengths = found["padding_mask"].sum(axis=1).tolist()
        rows = found["token_ids"].tolist()
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]

    def pieces(self, texts) -> list[list[str]]:
        """What the ids of `encode` stand for: tokens, `[CLS]` and `[SEP]` too, but in the place of
        unknown ones the text that they are of.

        Args:
            texts: A list of str.
        """
        tokenizer = self.tokenizer
        texts = [self.cleaner(text) for text in check_texts(texts)]
        found = tokenizer.tokenize(texts)
        names = [tokenizer.id_to_token(token_id) for token_id in found["token_ids"].tolist()]
        starts, ends = found["starts"].tolist(), found["ends"].tolist()
        most = None if self.max_length is None else self.max_length - 2
        rows = []
        for text, (begin, end) in zip(
            texts, itertools.pairwise(found["row_splits"].tolist()), strict=True
        ):
            row = [
                text[starts[i] : ends[i]] if names[i] == tokenizer.unknown_token else names[i]
                for i in range(begin, end)
            ]
            rows.append([tokenizer.cls_token, *row[:most], tokenizer.sep_token])
        return rows

    def unknown_rate(self, texts) -> float:
        """The share of the ids of texts that stand for unknown tokens, without `[CLS]` and
        `[SEP]`."""
        unknown = self.tokenizer.unknown_token
        tokens = [token for row in self.tokenize(texts) for token in row]
        return tokens.count(unknown) / len(tokens) if tokens else 0.0

    def label_ids(self, labels) -> list[int]:
        """The ids of labels, as `TextPipeline.label_ids`."""
        return find_label_ids(self.labels, labels)

    def save(self, folder):
        """Writes `text_pipeline.json`, `wordpiece_tokenizer.json` and `vocab.txt`.

        Args:
            folder: The folder to write to; made if it is missing.
        """
        folder = pathlib.Path(folder)
        self.tokenizer.save(folder)
        config = {
            "format": _FORMAT,
            "version": _VERSION,
            "cleaner": self.cleaner.get_config(),
            "labels": self.labels,
            "max_length": self.max_length,
            "vocabulary_crc32": _checksum(self.tokenizer),
        }
        content = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
        with atomic_write(folder / PIPELINE_FILE, "wb") as file:
            file.write(content.encode("utf-8", "backslashreplace"))

    @classmethod
    def load(cls, folder):
        """Reads what `save` wrote.

        Args:
            folder: The folder.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is broken, or not of this kind or version.
        """
        folder = pathlib.Path(folder)
        path = folder / PIPELINE_FILE
        config = read_config(path, "text pipeline", _FORMAT, _VERSION)
        tokenizer = WordPieceTokenizer.load(folder)
        try:
            if config["vocabulary_crc32"] != _checksum(tokenizer):
                raise ValueError("vocab.txt is not the vocabulary that it was saved with")
            return cls(
                tokenizer,
                config["labels"],
                config["max_length"],
                TextCleaner.from_config(config["cleaner"]),
            )
        except KeyError as error:
            raise ValueError(f"{path} is broken: it lacks {error}.") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} cannot be used: {error}") from error


def load_pipeline(folder):
    """The `TextPipeline` or `WordPiecePipeline` that was saved in a folder.

    Args:
        folder: The folder.

    Returns:
        The pipeline, which does what the saved one did.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is broken.
    """
    path = pathlib.Path(folder) / PIPELINE_FILE
    if path.is_file():
        try:
            content = json.loads(path.read_bytes())
        except ValueError:
            content = None  # TextPipeline.load says so
        if isinstance(content, dict) and content.get("format") == _FORMAT:
            return WordPiecePipeline.load(folder)
    return TextPipeline.load(folder)


def _checksum(tokenizer):
    """A number that another vocabulary, or another order, will hardly share."""
    return zlib.crc32("\0".join(tokenizer.tokens).encode("utf-8", "surrogatepass"))
