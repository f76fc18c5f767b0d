"""From raw texts to lists of token ids, the same in training and prediction."""

import json
import pathlib
import zlib

from kerasllm.files import atomic_write
from kerasllm.text.char_tokenizer import CharTokenizer
from kerasllm.text.cleaning import TextCleaner
from kerasllm.text.jieba_tokenizer import JiebaTokenizer
from kerasllm.text.tokenizer import check_texts
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
_PIPELINE_FILE = "text_pipeline.json"
_VOCABULARY_FILE = "vocabulary.txt"


class TextPipeline:
    """A cleaner, a tokenizer and a vocabulary, with the names of the classes.

    Examples:

    >>> pipeline = TextPipeline.fit(
    ...     ["味道很好", "味道不好"], tokenizer=CharTokenizer(), labels=["负面", "正面"]
    ... )
    >>> pipeline.encode(["味道真好", ""])
    [[2, 4, 1, 3], [1]]
    >>> pipeline.label_ids(["正面"])
    [1]

    Args:
        cleaner: A `TextCleaner`, or `None` for one with its defaults.
        tokenizer: A `JiebaTokenizer` or another of `TOKENIZERS`, or `None` for a
            `JiebaTokenizer` with its defaults.
        vocabulary: A `Vocabulary`.
        labels: The names of the classes, each once, in the order of their ids; `None` if there
            are none.
        max_length: Number of ids to which longer texts are cut, `None` for no limit.
        spell_unknown: Whether a word that the vocabulary lacks is given by its characters. Rare
            and new words are then known by what they are made of, and not all the same.

    Raises:
        ValueError: If a label is there twice, or `max_length` is not a whole number from 1.
        TypeError: If a label is not a str.
    """

    def __init__(
        self,
        cleaner,
        tokenizer,
        vocabulary,
        labels=None,
        max_length=None,
        spell_unknown=False,
    ):
        if max_length is not None and (type(max_length) is not int or max_length < 1):
            raise ValueError(f"max_length={max_length!r} should be a whole number from 1, or None.")
        self.cleaner = TextCleaner() if cleaner is None else cleaner
        self.tokenizer = JiebaTokenizer() if tokenizer is None else tokenizer
        self.vocabulary = vocabulary
        self.labels = None if labels is None else _check_labels(labels)
        self.max_length = max_length
        self.spell_unknown = bool(spell_unknown)

    @classmethod
    def fit(
        cls,
        texts,
        *,
        cleaner=None,
        tokenizer=None,
        max_size=None,
        min_frequency=1,
        labels=None,
        max_length=None,
        spell_unknown=False,
    ):
        """A pipeline whose vocabulary is learned from texts.

        With `spell_unknown` the words below `min_frequency` are counted by their characters.

        Args:
            texts: A list of str, those of the training set only.
            cleaner: As for the class.
            tokenizer: As for the class.
            max_size: Largest size of the vocabulary, see `Vocabulary.fit`.
            min_frequency: Smallest number of occurrences, see `Vocabulary.fit`.
            labels: The names of the classes, as for the class.
            max_length: As for the class.
            spell_unknown: As for the class.

        Returns:
            A `TextPipeline`.

        Raises:
            ValueError: If the texts hold no token, or as for the class.
        """
        pipeline = cls(cleaner, tokenizer, Vocabulary([]), labels, max_length, spell_unknown)
        token_lists = pipeline.tokenize(texts)
        if not any(token_lists):
            raise ValueError(
                f"There is nothing to learn a vocabulary from: {len(token_lists)} texts, all empty"
                " after cleaning."
            )
        if spell_unknown:
            frequent = Vocabulary.fit(token_lists, min_frequency=min_frequency)
            token_lists = [_spell(tokens, frequent) for tokens in token_lists]
        pipeline.vocabulary = Vocabulary.fit(token_lists, max_size, min_frequency)
        return pipeline

    def tokenize(self, texts) -> list[list[str]]:
        """Cleans texts and cuts them into tokens.

        Args:
            texts: A list of str.

        Returns:
            A list of tokens for each text, not truncated; an empty one for a text of which
            cleaning leaves nothing.

        Raises:
            TypeError: If `texts` is a single str, or holds something else than str.
        """
        return self.tokenizer.segment([self.cleaner(text) for text in check_texts(texts)])

    def encode(self, texts) -> list[list[int]]:
        """The ids of texts.

        Args:
            texts: A list of str.

        Returns:
            A list of 1 to `max_length` ids for each text: one without any token becomes
            `[unknown_id]`, so that no sequence is empty.

        Raises:
            TypeError: If `texts` is a single str, or holds something else than str.
        """
        vocabulary = self.vocabulary
        token_lists = self.tokenize(texts)
        if self.spell_unknown:
            token_lists = [_spell(tokens, vocabulary) for tokens in token_lists]
        return [
            vocabulary.encode(tokens[: self.max_length]) or [vocabulary.unknown_id]
            for tokens in token_lists
        ]

    def unknown_rate(self, texts) -> float:
        """The share of the ids of texts that stand for unknown tokens.

        Args:
            texts: A list of str.
        """
        ids = [token_id for sequence in self.encode(texts) for token_id in sequence]
        return ids.count(self.vocabulary.unknown_id) / len(ids) if ids else 0.0

    def label_ids(self, labels) -> list[int]:
        """The ids of labels.

        Args:
            labels: A list of names of classes, one for each text.

        Returns:
            A list of int.

        Raises:
            ValueError: If a label is not known, or the pipeline has no labels.
            TypeError: If `labels` is a single str.
        """
        if self.labels is None:
            raise ValueError("This pipeline has no labels: give labels= when it is made.")
        if isinstance(labels, str):
            raise TypeError(f"label_ids takes a list of labels, but got a single str: {labels!r}.")
        ids = {label: label_id for label_id, label in enumerate(self.labels)}
        labels = list(labels)
        try:
            return [ids[label] for label in labels]
        except KeyError as error:
            unknown = error.args[0]
            raise ValueError(
                f"labels[{labels.index(unknown)}] is {unknown!r}, but the known labels are"
                f" {', '.join(map(repr, self.labels))}."
            ) from None

    def save(self, folder):
        """Writes `text_pipeline.json` and `vocabulary.txt`, which need no other file.

        Args:
            folder: The folder to write to; made if it is missing.

        Raises:
            ValueError: If the cleaner or tokenizer is of a class that `load` does not know.
        """
        name = type(self.tokenizer).__name__
        if TOKENIZERS.get(name) is not type(self.tokenizer):
            raise ValueError(
                f"A tokenizer of class {name} cannot be saved, only {', '.join(TOKENIZERS)}."
                " Add the class to kerasllm.text.TOKENIZERS, here and where it is loaded."
            )
        if type(self.cleaner) is not TextCleaner:
            raise ValueError(
                f"A cleaner of class {type(self.cleaner).__name__} cannot be saved, only a"
                " TextCleaner."
            )
        config = {
            "format": _FORMAT,
            "version": _VERSION,
            "cleaner": self.cleaner.get_config(),
            "tokenizer": {"class": name, "config": self.tokenizer.get_config()},
            "labels": self.labels,
            "max_length": self.max_length,
            "spell_unknown": self.spell_unknown,
            "vocabulary_crc32": _checksum(self.vocabulary),
        }
        folder = pathlib.Path(folder)
        self.vocabulary.save(folder / _VOCABULARY_FILE)
        # A lone surrogate is the only thing UTF-8 lacks; its escape is also JSON's.
        content = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
        with atomic_write(folder / _PIPELINE_FILE, "wb") as file:
            file.write(content.encode("utf-8", "backslashreplace"))

    @classmethod
    def load(cls, folder):
        """Reads what `save` wrote.

        Args:
            folder: The folder.

        Returns:
            A `TextPipeline` that does what the saved one did.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is broken, or not of this kind or version.
        """
        folder = pathlib.Path(folder)
        path = folder / _PIPELINE_FILE
        for needed in (path, folder / _VOCABULARY_FILE):
            if not needed.is_file():
                raise FileNotFoundError(
                    f"{folder} holds no saved text pipeline: {needed.name} is missing."
                )
        config = _read_config(path)
        vocabulary = Vocabulary.load(folder / _VOCABULARY_FILE)
        try:
            tokenizer_class = TOKENIZERS.get(config["tokenizer"]["class"])
            if tokenizer_class is None:
                raise ValueError(
                    f"its tokenizer {config['tokenizer']['class']!r} is none of"
                    f" {', '.join(TOKENIZERS)}"
                )
            pipeline = cls(
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
                f"{folder / _VOCABULARY_FILE} is not the vocabulary that {_PIPELINE_FILE} was"
                " saved with: other tokens or another order, so that every id may mean another"
                " token. Save the pipeline again, or bring the right file back."
            )
        return pipeline


def _spell(tokens, vocabulary):
    """The tokens, those that the vocabulary lacks by their characters."""
    spelled = []
    for token in tokens:
        if token in vocabulary:
            spelled.append(token)
        else:
            spelled.extend(token)
    return spelled


def _read_config(path):
    """The content of a pipeline's file, of the right format and version."""
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:  # not JSON, or not UTF-8
        raise ValueError(f"{path} is broken, it is no JSON: {error}.") from error
    if not isinstance(config, dict) or config.get("format") != _FORMAT:
        raise ValueError(f'{path} is no text pipeline of kerasllm: it lacks "format": "{_FORMAT}".')
    if config.get("version") != _VERSION:
        raise ValueError(
            f"{path} is of version {config.get('version')!r}, but this kerasllm reads version"
            f" {_VERSION}. Use the kerasllm that wrote it, or a newer one."
        )
    return config


def _check_labels(labels):
    if isinstance(labels, str):
        raise TypeError(f"labels should be a list of names, but got a single str: {labels!r}.")
    labels = list(labels)
    for position, label in enumerate(labels):
        if not isinstance(label, str):
            raise TypeError(
                f"labels[{position}] should be a str, but is {type(label).__name__}: {label!r}."
            )
        if labels.index(label) != position:
            raise ValueError(
                f"The label {label!r} is there twice. labels= takes the names of the classes, each"
                " once: sorted(set(labels)) makes them out of a column."
            )
    return labels


def _checksum(vocabulary):
    """A number that another vocabulary, or another order, will hardly share."""
    return zlib.crc32("\0".join(vocabulary.tokens).encode("utf-8", "surrogatepass"))
