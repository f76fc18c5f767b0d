"""Characters as the token ids of a language model."""

import hashlib
import json
import pathlib

from kerasllm.files import atomic_write
from kerasllm.text.char_tokenizer import CharTokenizer
from kerasllm.text.config_file import read_config
from kerasllm.text.text_pieces import text_pieces
from kerasllm.text.vocabulary import Vocabulary

_FORMAT, _VERSION = "kerasllm.char_vocabulary_tokenizer", 1
_CONFIG_FILE, _VOCABULARY_FILE = "char_tokenizer.json", "vocabulary.txt"


class CharVocabularyTokenizer:
    """Turns texts into ids of characters and back, blanks and line ends among them.

    Id 0, `[END]`, stands between documents: before the first character of one and after its last.
    Id 1, `[UNK]`, stands for characters that the vocabulary lacks.

    Examples:

    >>> tokenizer = CharVocabularyTokenizer.fit(["床前明月光，", "疑是地上霜。"])
    >>> tokenizer.encode(["明月"])
    [[8, 10]]
    >>> tokenizer.decode([8, 10, tokenizer.end_id])
    '明月'

    Args:
        vocabulary: A `Vocabulary` whose first two tokens are the special ones.
    """

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary
        self._cut = CharTokenizer(keep_blanks=True)
        self.end_id, self.unknown_id = vocabulary.pad_id, vocabulary.unknown_id

    @classmethod
    def fit(cls, texts, max_size=None, min_frequency=1):
        """The tokenizer of a corpus: its characters, the most frequent first.

        Args:
            texts: An iterable of str.
            max_size: Largest number of ids; None for any.
            min_frequency: Smallest number of occurrences of a character that is kept.
        """
        cut = CharTokenizer(keep_blanks=True)
        # A str for each character takes 80 bytes: not of a whole book at once.
        tokens = (cut.segment([piece])[0] for text in texts for piece in text_pieces(text))
        return cls(Vocabulary.fit(tokens, max_size, min_frequency, "[END]", "[UNK]"))

    def __len__(self):
        return len(self.vocabulary)

    @property
    def tokens(self):
        """All tokens; a token's place is its id."""
        return self.vocabulary.tokens

    @property
    def fingerprint(self):
        """A str that is the same only for the same ids of all texts."""
        content = "\0".join(self.tokens).encode("utf-8", "surrogatepass")
        return f"{_FORMAT} {_VERSION} {hashlib.blake2b(content, digest_size=16).hexdigest()}"

    def encode(self, texts):
        """The ids of each text: a list of lists, without special ids around them.

        Args:
            texts: A list (or any iterable) of str.
        """
        encode = self.vocabulary.encode
        return [encode(tokens) for tokens in self._cut.segment(texts)]

    def decode(self, token_ids):
        """The text of ids; `[END]` is left out, an unknown character is U+FFFD.

        Args:
            token_ids: A list or array of ids, `(tokens,)`.

        Raises:
            ValueError: If an id is out of range.
        """
        ids = [token_id for token_id in map(int, token_ids) if token_id != self.end_id]
        tokens = self.vocabulary.decode(ids)
        return "".join(
            "\ufffd" if token_id == self.unknown_id else token
            for token_id, token in zip(ids, tokens, strict=True)
        )

    def save(self, folder):
        """Writes `vocabulary.txt` and `char_tokenizer.json` into a folder."""
        folder = pathlib.Path(folder)
        self.vocabulary.save(folder / _VOCABULARY_FILE)
        with atomic_write(folder / _CONFIG_FILE) as file:
            json.dump({"format": _FORMAT, "version": _VERSION}, file)

    @classmethod
    def load(cls, folder):
        """Reads what `save` wrote.

        Args:
            folder: The folder.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is broken, or of another kind or version.
        """
        folder = pathlib.Path(folder)
        path = folder / _CONFIG_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no saved tokenizer: {path.name} is missing.")
        read_config(path, "tokenizer", _FORMAT, _VERSION)
        return cls(Vocabulary.load(folder / _VOCABULARY_FILE))
