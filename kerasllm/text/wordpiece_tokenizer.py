"""BERT's tokenizer."""

import itertools

from kerasllm_ops import wordpiece_engine
from kerasllm_ops.wordpiece_engine import WordpieceEngine, WordpieceOptions

from kerasllm.text.tokenizer import Tokenizer, check_texts
from kerasllm.text.wordpiece_checks import check_encoding, check_options
from kerasllm.text.wordpiece_files import read_wordpiece_tokenizer, save_wordpiece_tokenizer
from kerasllm.text.wordpiece_python import PythonWordpiece
from kerasllm.text.wordpiece_vocabulary import load_tokens


class WordPieceTokenizer(Tokenizer):
    """Cuts texts into the pieces of a BERT's vocabulary (Devlin, Chang, Lee and Toutanova, BERT:
    Pre-training of Deep Bidirectional Transformers for Language Understanding, 2019).

    Tokens, ids and offsets are those of Hugging Face `tokenizers` 0.23.3 as
    `transformers.BertTokenizerFast` sets it up. Control characters are dropped, Chinese characters
    and punctuation are words of their own, and every word becomes the longest pieces that the
    vocabulary has, from left to right; pieces inside a word begin with `##`. A word that cannot be
    put together is one unknown token.

    The work is done in C++ on all processors, without Python's lock, or by an engine in plain
    Python where the native library is missing: slower, with the same result. Halves of surrogate
    pairs count as U+FFFD, which is dropped.

    Examples:

    >>> tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "我", "爱", "ker", "##as", "!"]
    >>> tokenizer = WordPieceTokenizer(tokens)
    >>> tokenizer.segment(["我爱Keras!"])
    [['我', '爱', 'ker', '##as', '!']]
    >>> tokenizer.encode(["我爱Keras!", "我"])["token_ids"]
    array([[2, 5, 6, 7, 8, 9, 3],
           [2, 5, 3, 0, 0, 0, 0]], dtype=int32)
    >>> tokenizer.decode([2, 5, 6, 7, 8, 9, 3])
    '我爱keras!'

    Args:
        vocabulary: The path of a vocab.txt (UTF-8, one token a line), or a list of tokens.
        lowercase: Whether letters are made lower case.
        strip_accents: Whether accents are stripped; None for as `lowercase` says.
        split_cjk: Whether every Chinese character is a word of its own.
        special_tokens_in_text: Whether `[MASK]` and the like in a text are those tokens.
        max_characters_per_word: Longer words are unknown.
        unknown_token: The token for words that the vocabulary lacks.
        cls_token: The token before the first text.
        sep_token: The token behind each text.
        pad_token: The token that fills rows up.
        mask_token: The token of masked language models, or None.

    Raises:
        FileNotFoundError: If there is no file at the path.
        TypeError: If a token is no str.
        ValueError: If the vocabulary lacks a special token or is none, or an argument is wrong.
    """

    def __init__(
        self,
        vocabulary,
        *,
        lowercase=True,
        strip_accents=None,
        split_cjk=True,
        special_tokens_in_text=True,
        max_characters_per_word=100,
        unknown_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    ):
        super().__init__()
        check_options(
            max_characters_per_word,
            lowercase=lowercase,
            strip_accents=lowercase if strip_accents is None else strip_accents,
            split_cjk=split_cjk,
            special_tokens_in_text=special_tokens_in_text,
        )
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self.split_cjk = split_cjk
        self.special_tokens_in_text = special_tokens_in_text
        self.max_characters_per_word = max_characters_per_word
        self.unknown_token = unknown_token
        self.cls_token = cls_token
        self.sep_token = sep_token
        self.pad_token = pad_token
        self.mask_token = mask_token
        self._tokens = load_tokens(vocabulary)
        self._ids = {token: token_id for token_id, token in enumerate(self._tokens)}
        for token in self._special_tokens():
            if token not in self._ids:
                raise ValueError(
                    f"The vocabulary lacks the special token {token!r}. If it has another in its"
                    " place, give that one: unknown_token=, cls_token=, sep_token=, pad_token=,"
                    " mask_token=."
                )
        self._engine = None

    def __len__(self):
        return len(self._tokens)

    def __getstate__(self):
        # The engine is memory of this process.
        return {**self.__dict__, "_engine": None}

    @property
    def tokens(self) -> list[str]:
        """All tokens; a token's place is its id."""
        return list(self._tokens)

    def token_to_id(self, token) -> int:
        """The id of a token, that of the unknown token for others."""
        return self._ids.get(token, self._ids[self.unknown_token])

    def id_to_token(self, token_id) -> str:
        """The token of an id.

        Args:
            token_id: An integer.

        Raises:
            ValueError: If the id is out of range.
        """
        if not 0 <= token_id < len(self):
            raise ValueError(
                f"The id {token_id} is not in this vocabulary, which has the ids 0 to"
                f" {len(self) - 1}."
            )
        return self._tokens[token_id]

    def segment(self, texts) -> list[list[str]]:
        """Cuts texts into tokens, without special tokens around them.

        Args:
            texts: A list (or any iterable) of str.

        Returns:
            A list of tokens for each text; an empty one for a text without any.

        Raises:
            TypeError: If `texts` is a single str, or holds something else than str.
        """
        token_ids, row_splits, _, _ = self.engine.tokenize(check_texts(texts))
        tokens = [self._tokens[token_id] for token_id in token_ids.tolist()]
        ends = row_splits.tolist()
        return [tokens[begin:end] for begin, end in itertools.pairwise(ends)]

    def tokenize(self, texts, offsets="code_points"):
        """The ids of texts' tokens, and where each stands.

        Args:
            texts: A list (or any iterable) of str.
            offsets: `"code_points"`, so that `text[start:end]` is the token's source, or
                `"bytes"` of UTF-8, or None for none.

        Returns:
            A dict of NumPy arrays: `"token_ids"` int32 `(tokens,)` of all texts, `"row_splits"`
            int64 `(texts + 1,)`, where each text begins in it, and, with offsets, `"starts"` and
            `"ends"`, int64 `(tokens,)`.

        Raises:
            TypeError: If `texts` is a single str, or holds something else than str.
            ValueError: If `offsets` is none of these.
        """
        if offsets not in wordpiece_engine.OFFSET_UNITS:
            raise ValueError(
                f"offsets={offsets!r} should be one of {wordpiece_engine.OFFSET_UNITS}."
            )
        arrays = self.engine.tokenize(check_texts(texts), offsets)
        names = ("token_ids", "row_splits", "starts", "ends")
        return {name: array for name, array in zip(names, arrays, strict=True) if array is not None}

    def encode(
        self,
        texts,
        pairs=None,
        max_length=None,
        padding="longest",
        truncation="longest_first",
    ):
        """The input of a BERT: `[CLS] text [SEP]`, or `[CLS] text [SEP] pair [SEP]`.

        Args:
            texts: A list (or any iterable) of str.
            pairs: As many second texts, or None.
            max_length: The longest row, special tokens included; longer ones are truncated. None
                for no limit.
            padding: `"longest"`: to the longest row; `"max_length"`: to that length.
            truncation: What is cut: `"only_first"`, `"only_second"`, or `"longest_first"`, which
                takes from the longer text until both are as long, then from both.

        Returns:
            A dict of NumPy arrays `(texts, length)`: `"token_ids"` int32, `"segment_ids"` int32 (1
            for the second text and its `[SEP]`, else 0) and `"padding_mask"` bool (False where the
            padding is).

        Raises:
            TypeError: If `texts` is a single str, or holds something else than str.
            ValueError: If the numbers of texts and pairs differ, or a row cannot be truncated so.
        """
        texts = check_texts(texts)
        if pairs is not None:
            pairs = check_texts(pairs)
            if len(pairs) != len(texts):
                raise ValueError(f"There are {len(texts)} texts but {len(pairs)} pairs.")
        check_encoding(pairs is not None, max_length, padding, truncation)
        arrays = self.engine.encode(texts, pairs, max_length, truncation, padding == "max_length")
        return dict(zip(("token_ids", "segment_ids", "padding_mask"), arrays, strict=True))

    def decode(self, token_ids, skip_special_tokens=True) -> str:
        """The text of ids, as far as it can be told; see `detokenize`.

        Args:
            token_ids: A list or array of ids, `(tokens,)`.
            skip_special_tokens: Whether special tokens are left out.

        Raises:
            ValueError: If an id is out of range.
        """
        tokens = [self.id_to_token(int(token_id)) for token_id in token_ids]
        if skip_special_tokens:
            special = set(self._special_tokens())
            tokens = [token for token in tokens if token not in special]
        return self.detokenize(tokens)

    def detokenize(self, words) -> str:
        """Joins tokens to a text: pieces to words, with a blank between two Latin words only.

        Args:
            words: A list of str.
        """
        whole = []
        for token in words:
            if token.startswith("##") and len(token) > 2 and whole:
                whole[-1] += token[2:]
            else:
                whole.append(token)
        return super().detokenize(whole)

    def get_config(self):
        return {
            "vocabulary": self.tokens,
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "split_cjk": self.split_cjk,
            "special_tokens_in_text": self.special_tokens_in_text,
            "max_characters_per_word": self.max_characters_per_word,
            "unknown_token": self.unknown_token,
            "cls_token": self.cls_token,
            "sep_token": self.sep_token,
            "pad_token": self.pad_token,
            "mask_token": self.mask_token,
        }

    def save(self, folder):
        """Writes `vocab.txt` and `wordpiece_tokenizer.json`.

        Args:
            folder: The folder to write to; made if it is missing.
        """
        save_wordpiece_tokenizer(self, folder)

    @classmethod
    def load(cls, folder):
        """Reads what `save` wrote.

        Args:
            folder: The folder.

        Returns:
            A `WordPieceTokenizer` that does what the saved one did.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is broken, or not of this kind or version.
        """
        vocabulary, options = read_wordpiece_tokenizer(folder)
        try:
            return cls(vocabulary, **options)
        except TypeError as error:
            raise ValueError(f"The tokenizer of {folder} cannot be used: {error}.") from error

    @property
    def options(self):
        """How texts are cut, a `kerasllm_ops.wordpiece_engine.WordpieceOptions`."""
        strip = self.lowercase if self.strip_accents is None else self.strip_accents
        return WordpieceOptions(
            lowercase=self.lowercase,
            strip_accents=strip,
            split_cjk=self.split_cjk,
            special_tokens_in_text=self.special_tokens_in_text,
            max_characters_per_word=self.max_characters_per_word,
            special_tokens=self._special_tokens(),
        )

    @property
    def engine(self):
        """What cuts texts: the native engine, or the one in plain Python."""
        if self._engine is None:
            native = wordpiece_engine.problem() is None
            make = WordpieceEngine if native else PythonWordpiece
            self._engine = make(self._tokens, self.options)
        return self._engine

    def _special_tokens(self):
        tokens = (self.unknown_token, self.cls_token, self.sep_token, self.pad_token)
        return tokens if self.mask_token is None else (*tokens, self.mask_token)
