"""WordPiece vocabularies: reading vocab.txt, checking tokens, training."""

import os
import pathlib
import re

from kerasllm.files import atomic_write

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_SURROGATE = re.compile("[\ud800-\udfff]")


def read_wordpiece_vocabulary(path):
    """The tokens of a vocab.txt: UTF-8, one token a line, the line's number from 0 being its id.

    Args:
        path: The file.

    Returns:
        A list of str.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is empty, there twice, not UTF-8 or ends with a carriage return; the
            message names it.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"vocabulary: there is no file {str(path)!r}.")
    content = path.read_bytes()
    if content.startswith(b"\xef\xbb\xbf"):
        raise ValueError(f"{path} begins with a byte order mark; save it as UTF-8 without one.")
    tokens = []
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), 1):
        try:
            tokens.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: not UTF-8 ({error.reason}).") from error
    return check_wordpiece_tokens(tokens, path)


def check_wordpiece_tokens(tokens, source="vocabulary"):
    """The tokens as a list, if they can be a vocabulary.

    Args:
        tokens: An iterable of str.
        source: What messages name.

    Raises:
        TypeError: If a token is no str.
        ValueError: If there is none, or one is empty, there twice or cannot be a line.
    """
    tokens, lines = list(tokens), {}
    if not tokens or tokens == [""]:
        raise ValueError(f"{source} is empty.")
    for number, token in enumerate(tokens, 1):
        place = f"{source}, line {number}"
        if not isinstance(token, str):
            raise TypeError(f"{place}: a token should be a str, but is {token!r:.60}.")
        if not token:
            raise ValueError(f"{place}: the line is empty; every line is a token.")
        if token.endswith("\r"):
            raise ValueError(f"{place}: ends with a carriage return; save it with Unix line ends.")
        if "\n" in token or _SURROGATE.search(token):
            raise ValueError(f"{place}: the token {token!r} cannot be a line of UTF-8.")
        if lines.setdefault(token, number) != number:
            raise ValueError(f"{place}: repeats the token {token!r} of line {lines[token]}.")
    return tokens


def write_wordpiece_vocabulary(path, tokens):
    """Writes a vocab.txt.

    Args:
        path: The file to write.
        tokens: A list of str.
    """
    with atomic_write(path, newline="\n") as file:
        file.writelines(f"{token}\n" for token in tokens)


def train_wordpiece_vocabulary(
    texts,
    size,
    path=None,
    *,
    lowercase=True,
    strip_accents=None,
    split_cjk=True,
    special_tokens=SPECIAL_TOKENS,
    min_frequency=2,
    max_alphabet=None,
):
    """Learns the vocabulary of a corpus with the trainer of the library `tokenizers`.

    Args:
        texts: An iterable of str.
        size: Largest number of tokens, the special ones included.
        path: A vocab.txt to write, or None.
        lowercase: As in `WordPieceTokenizer`, with which the vocabulary is to be used.
        strip_accents: As there.
        split_cjk: As there.
        special_tokens: The first tokens of the vocabulary.
        min_frequency: How often a pair of pieces must occur to become one.
        max_alphabet: Largest number of single characters that are kept; None for all.

    Returns:
        The tokens, a list of str.

    Raises:
        ImportError: If `tokenizers` is not installed.
        TypeError: If `texts` is a single str.
    """
    if isinstance(texts, str | bytes):
        raise TypeError(f"texts should be an iterable of str, but got a single one: {texts!r:.60}.")
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "train_wordpiece_vocabulary needs the library tokenizers:"
            " pip install 'kerasllm[wordpiece-training]'."
        ) from error
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token=special_tokens[1]))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=split_cjk
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    limit = {} if max_alphabet is None else {"limit_alphabet": max_alphabet}
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=list(special_tokens),
        min_frequency=min_frequency,
        show_progress=False,
        **limit,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = tokenizer.get_vocab()
    tokens = check_wordpiece_tokens(sorted(ids, key=ids.get))
    if path is not None:
        write_wordpiece_vocabulary(path, tokens)
    return tokens


def load_tokens(vocabulary):
    """The tokens of a vocabulary that is given as a path or as a list."""
    if isinstance(vocabulary, str | os.PathLike):
        return read_wordpiece_vocabulary(vocabulary)
    return check_wordpiece_tokens(vocabulary)
