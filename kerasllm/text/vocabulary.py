"""Tokens to ids and back."""

import collections
import pathlib
import re

from kerasllm.files import atomic_write

# In the file a token is one line that shows all it holds: what cannot be printed, blanks and the
# backslash are escaped.
_SHORT_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", " ": "\\s", "": "\\e"}
_UNESCAPED = {escape: text for text, escape in _SHORT_ESCAPES.items()}
_ESCAPE = re.compile(r"\\(?:u[0-9a-f]{4}|U000[0-9a-f]{5}|U0010[0-9a-f]{4}|.|\Z)", re.DOTALL)


class Vocabulary:
    """The tokens a model knows, each with an id.

    Id 0 is padding, id 1 stands for all unknown tokens, the others follow in the order given.

    Examples:

    >>> vocabulary = Vocabulary.fit([["很", "好"], ["不", "好"]])
    >>> vocabulary.tokens
    ['[PAD]', '[UNK]', '好', '不', '很']
    >>> vocabulary.encode(["真", "好"])
    [1, 2]

    Args:
        tokens: The tokens, each once, without the two special ones.
        pad_token: Name of id 0.
        unknown_token: Name of id 1.

    Raises:
        ValueError: If a token is there twice.
        TypeError: If `tokens` is a single str, or holds something else than str.
    """

    pad_id = 0
    unknown_id = 1

    def __init__(self, tokens, pad_token="[PAD]", unknown_token="[UNK]"):
        _refuse_str(tokens, "tokens of a Vocabulary")
        self._tokens = [pad_token, unknown_token, *tokens]
        self._ids = {}
        for token_id, token in enumerate(self._tokens):
            if not isinstance(token, str):
                raise TypeError(
                    f"The token of id {token_id} should be a str, but is"
                    f" {type(token).__name__}: {token!r:.60}."
                )
            first = self._ids.setdefault(token, token_id)
            if first != token_id:
                raise ValueError(
                    f"The token {token!r} is there twice, with the ids {first} and {token_id}."
                    " Give each once, without the two special ones, which are added here."
                )

    @classmethod
    def fit(
        cls,
        token_lists,
        max_size=None,
        min_frequency=1,
        pad_token="[PAD]",
        unknown_token="[UNK]",
    ):
        """The vocabulary of a corpus: the most frequent tokens first, equals in code-point order.

        Args:
            token_lists: An iterable of lists of tokens.
            max_size: Largest number of ids, the two special ones included; `None` for any.
            min_frequency: Smallest number of occurrences of a token that is kept.
            pad_token: Name of id 0.
            unknown_token: Name of id 1.

        Returns:
            A `Vocabulary`.

        Raises:
            ValueError: If `max_size` is below 2 or `min_frequency` below 1.
            TypeError: If a list of tokens is a single str.
        """
        if max_size is not None and max_size < 2:
            raise ValueError(f"max_size={max_size} should be at least 2: the special tokens.")
        if min_frequency < 1:
            raise ValueError(f"min_frequency={min_frequency} should be at least 1.")
        _refuse_str(token_lists, "token_lists of Vocabulary.fit")
        counts = collections.Counter()
        for tokens in token_lists:
            _refuse_str(tokens, "each of the token_lists of Vocabulary.fit")
            counts.update(tokens)
        del counts[pad_token], counts[unknown_token]
        kept = [item for item in counts.items() if item[1] >= min_frequency]
        kept.sort(key=lambda item: (-item[1], item[0]))
        end = None if max_size is None else max_size - 2
        return cls([token for token, _ in kept[:end]], pad_token, unknown_token)

    def __len__(self):
        return len(self._tokens)

    def __contains__(self, token):
        return token in self._ids

    @property
    def tokens(self) -> list[str]:
        """All tokens, the special ones included; a token's place is its id."""
        return list(self._tokens)

    def encode(self, tokens) -> list[int]:
        """The ids of a list of tokens, `unknown_id` for those not known.

        Raises:
            TypeError: If `tokens` is a single str.
        """
        _refuse_str(tokens, "tokens of Vocabulary.encode")
        get, unknown_id = self._ids.get, self.unknown_id
        return [get(token, unknown_id) for token in tokens]

    def decode(self, ids) -> list[str]:
        """The tokens of a list of ids, the special ones by their names.

        Raises:
            ValueError: If an id is out of range.
        """
        tokens = []
        for position, token_id in enumerate(ids):
            if not 0 <= token_id < len(self):
                raise ValueError(
                    f"ids[{position}] is {token_id}, but this vocabulary has the ids 0 to"
                    f" {len(self) - 1}."
                )
            tokens.append(self._tokens[token_id])
        return tokens

    def unknown_rate(self, tokens) -> float:
        """The share of a list of tokens that is not known; 0.0 of an empty list."""
        ids = self.encode(tokens)
        return ids.count(self.unknown_id) / len(ids) if ids else 0.0

    def save(self, path):
        r"""Writes a UTF-8 text file: one token a line, the line's number from 0 is the id.

        Backslash, blank, newline, carriage return and tab are written `\\`, `\s`, `\n`, `\r` and
        `\t`, the empty token `\e`, other characters that cannot be printed `\uXXXX` or
        `\UXXXXXXXX`.

        Args:
            path: The file to write.
        """
        with atomic_write(path, "wb") as file:
            file.write(self.to_bytes())

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        return "".join(f"{_escape(token)}\n" for token in self._tokens).encode("utf-8")

    @classmethod
    def load(cls, path):
        """Reads a file that `save` wrote, or one by hand in that form.

        A BOM and Windows line ends, as editors leave them, do no harm.

        Args:
            path: The file to read.

        Returns:
            A `Vocabulary`.

        Raises:
            ValueError: If the file is not a vocabulary; the message names the line.
            FileNotFoundError: If there is no such file.
        """
        lines = pathlib.Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
        if lines[-1].strip():
            raise ValueError(
                f"{path}, line {len(lines)}: the file ends without a newline, so it was probably"
                " cut off. Save the vocabulary again."
            )
        tokens = {}
        for number, line in enumerate(lines[:-1], 1):
            try:
                token = _unescape(line.removesuffix(b"\r").decode("utf-8"))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}.") from error
            if token in tokens:
                raise ValueError(
                    f"{path}, line {number}: the token {token!r} is already on line"
                    f" {tokens[token]}."
                )
            tokens[token] = number
        if len(tokens) < 2:
            raise ValueError(
                f"{path} is no vocabulary: one begins with two special tokens, padding and"
                f" unknown, but the tokens in this file are {len(tokens)} in all."
            )
        pad_token, unknown_token, *rest = tokens
        return cls(rest, pad_token, unknown_token)


def _refuse_str(tokens, name):
    if isinstance(tokens, str | bytes):
        raise TypeError(f"{name} should be a list, but got a single str: {tokens!r:.60}.")


def _escape(token):
    if token.isprintable() and token and "\\" not in token and " " not in token:
        return token
    return "".join(map(_escape_character, token)) or _SHORT_ESCAPES[""]


def _escape_character(character):
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _unescape(line):
    if not line:
        raise ValueError(r"a blank line (the empty token is written \e)")
    return _ESCAPE.sub(_unescape_match, line) if "\\" in line else line


def _unescape_match(match):
    escape = match[0]
    if len(escape) > 2:
        return chr(int(escape[2:], 16))
    if escape not in _UNESCAPED:
        raise ValueError(rf"{escape!r} is no escape; a backslash is written \\")
    return _UNESCAPED[escape]
