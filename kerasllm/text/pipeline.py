"""From raw texts to lists of token ids, the same in training and prediction."""

from kerasllm.text import pipeline_files
from kerasllm.text.cleaning import TextCleaner
from kerasllm.text.jieba_tokenizer import JiebaTokenizer
from kerasllm.text.tokenizer import check_texts
from kerasllm.text.vocabulary import Vocabulary


class TextPipeline:
    """A cleaner, a tokenizer and a vocabulary, with the names of the classes.

    Examples:

    >>> from kerasllm.text import CharTokenizer
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
        self.labels = None if labels is None else check_labels(labels)
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
        return [
            vocabulary.encode(tokens) or [vocabulary.unknown_id] for tokens in self.pieces(texts)
        ]

    def pieces(self, texts) -> list[list[str]]:
        """What the ids of `encode` stand for, unknown words as they are in the text.

        Args:
            texts: A list of str.

        Returns:
            A list of words, or of their characters where they are spelled, for each text; an empty
            one for a text without any token.
        """
        token_lists = self.tokenize(texts)
        if self.spell_unknown:
            token_lists = [_spell(tokens, self.vocabulary) for tokens in token_lists]
        return [tokens[: self.max_length] for tokens in token_lists]

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
        return find_label_ids(self.labels, labels)

    def save(self, folder):
        """Writes `text_pipeline.json` and `vocabulary.txt`, which need no other file.

        Args:
            folder: The folder to write to; made if it is missing.

        Raises:
            ValueError: If the cleaner or tokenizer is of a class that `load` does not know.
        """
        pipeline_files.save(self, folder)

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
        return pipeline_files.load(cls, folder)


def _spell(tokens, vocabulary):
    """The tokens, those that the vocabulary lacks by their characters."""
    spelled = []
    for token in tokens:
        if token in vocabulary:
            spelled.append(token)
        else:
            spelled.extend(token)
    return spelled


def check_labels(labels):
    """The names of classes as a list, each there once."""
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


def find_label_ids(known, labels):
    """What `TextPipeline.label_ids` does; `known` are the pipeline's labels."""
    if known is None:
        raise ValueError("This pipeline has no labels: give labels= when it is made.")
    if isinstance(labels, str):
        raise TypeError(f"label_ids takes a list of labels, but got a single str: {labels!r}.")
    ids = {label: label_id for label_id, label in enumerate(known)}
    labels = list(labels)
    try:
        return [ids[label] for label in labels]
    except KeyError as error:
        unknown = error.args[0]
        raise ValueError(
            f"labels[{labels.index(unknown)}] is {unknown!r}, but the known labels are"
            f" {', '.join(map(repr, known))}."
        ) from None
