"""Refuses sizes of which no model can be made, with a sentence."""

import numbers


def check_positive(**sizes):
    """Raises a ValueError that names the first size that is no positive integer."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"{name} is {size!r}; expected a positive integer.")


def check_rates(**rates):
    """Raises a ValueError that names the first rate of dropout that is not in `[0, 1)`."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"{name} is {rate!r}; expected a number from 0, below 1.")


def check_heads(hidden_dim, num_heads):
    """Raises a ValueError if vectors cannot be cut into so many heads of one size."""
    check_positive(hidden_dim=hidden_dim, num_heads=num_heads)
    if hidden_dim % num_heads:
        raise ValueError(
            f"hidden_dim is {hidden_dim}, which num_heads={num_heads} does not divide."
        )


def check_classes(num_classes):
    """Raises a ValueError if there are fewer than 2 classes."""
    check_positive(num_classes=num_classes)
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}; a classifier needs at least 2.")


def check_classifier(vocabulary_size, num_classes, pooling, poolings):
    """Raises a ValueError if no classifier from token ids can have these arguments."""
    check_positive(vocabulary_size=vocabulary_size)
    if vocabulary_size < 3:
        raise ValueError(
            f"vocabulary_size is {vocabulary_size}; expected at least 3: padding, unknown, a token."
        )
    check_classes(num_classes)
    if pooling not in poolings:
        raise ValueError(f"pooling is {pooling!r}; expected one of {', '.join(poolings)}.")
