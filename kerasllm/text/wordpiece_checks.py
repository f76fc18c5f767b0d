"""Refuses what a WordPiece tokenizer cannot do, with a sentence."""

from kerasllm_ops.wordpiece_engine import TRUNCATIONS


def check_options(max_characters_per_word, **switches):
    """Checks arguments of `WordPieceTokenizer`.

    Raises:
        ValueError: If `max_characters_per_word` is no positive int32, or a switch no bool.
    """
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value!r} of WordPieceTokenizer should be True or False.")
    if type(max_characters_per_word) is not int or not 0 < max_characters_per_word < 2**31:
        raise ValueError(
            f"max_characters_per_word={max_characters_per_word!r} of WordPieceTokenizer should"
            " be a whole number from 1."
        )


def check_encoding(has_pairs, max_length, padding, truncation):
    """Checks arguments of `WordPieceTokenizer.encode`.

    Raises:
        ValueError: If one is wrong, or two do not go together.
    """
    least = 3 if has_pairs else 2
    if max_length is not None and (type(max_length) is not int or max_length < least):
        raise ValueError(
            f"max_length={max_length!r} should be None or a whole number from {least}, the number"
            " of special tokens."
        )
    if padding not in ("longest", "max_length"):
        raise ValueError(f"padding={padding!r} should be 'longest' or 'max_length'.")
    if padding == "max_length" and max_length is None:
        raise ValueError("padding='max_length' needs a max_length.")
    if truncation not in TRUNCATIONS:
        raise ValueError(f"truncation={truncation!r} should be one of {TRUNCATIONS}.")
    if truncation == "only_second" and not has_pairs:
        raise ValueError("truncation='only_second' needs pairs.")
