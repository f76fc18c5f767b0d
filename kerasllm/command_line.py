"""Arguments that commands share: numbers, for the `type` of argparse, and how texts are read."""

import argparse
import math


def count(text):
    """A whole number from 1, such as a size."""
    return _number(text, int, lambda value: value >= 1, "a whole number from 1")


def positive(text):
    """A number above 0, such as a learning rate."""
    return _number(text, float, lambda value: 0 < value < math.inf, "a number above 0")


def rate(text):
    """A share, such as that of dropout: from 0, below 1."""
    return _number(text, float, lambda value: 0 <= value < 1, "a number from 0, below 1")


def add_corpus_arguments(parser):
    """Adds `--encoding` and `--text-field`, None by default, of commands that read a corpus."""
    parser.add_argument("--encoding", help="of all files (default: that of each is recognised)")
    parser.add_argument("--text-field", help="of JSON Lines and tables (default: text)")


def _number(text, kind, fits, expected):
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} should be {expected}")
    return value
