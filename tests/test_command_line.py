"""Numbers as arguments of recipes."""

import argparse

import pytest

from kerasllm.command_line import count, positive, rate


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [(count, "3", 3), (positive, "1e-3", 1e-3), (rate, "0", 0.0), (rate, "0.5", 0.5)],
)
def test_numbers_are_read(kind, text, value):
    found = kind(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "texts", "expected"),
    [
        (count, ["0", "-3", "1.5", "many"], "a whole number from 1"),
        (positive, ["0", "-1", "nan", "inf", "fast"], "a number above 0"),
        (rate, ["-0.1", "1", "nan", "half"], "a number from 0, below 1"),
    ],
)
def test_others_are_refused_with_what_is_expected(kind, texts, expected):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' should be {expected}"):
            kind(text)
