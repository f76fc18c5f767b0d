"""Splitting rows into parts for training, validation and test."""

import hashlib
import math

import numpy as np
import pandas as pd

from kerasllm.data.duplicates import comparison_key


def stratified_split(rows, fractions=(0.8, 0.1, 0.1), seed=0):
    """Splits rows into parts in which the classes have the same shares.

    Texts that are the same but for width, case, blanks and punctuation always end up in one part
    (counted under the first of their labels in sorting order, if they have several), so no model
    is tested on a text that it was trained on. Which part that is depends on the seed and the rows
    alone, neither on their order nor on the machine or the versions of its libraries: the texts of
    a class are put in the order of a hash and cut where the fractions say.

    A class with at least as many different texts as there are parts has one or more in each. A
    smaller class goes to the parts with the largest fractions, one text each.

    Examples:
        >>> train, valid, test = stratified_split(rows)
        >>> train, valid = stratified_split(rows, (0.9, 0.1), seed=7)

    Args:
        rows: A DataFrame with the column `text` and, if the parts are to be stratified, `label`.
        fractions: The share of every part. They are positive and sum to 1.
        seed: An int; another seed gives another split.

    Returns:
        A tuple of DataFrames, one per fraction. Their rows are in the order of `rows` and keep its
        index.

    Raises:
        ValueError: If the fractions are not positive or do not sum to 1, if there is no column
            `text`, or if there are too few different texts to put one in every part.
    """
    fractions = [float(fraction) for fraction in fractions]
    if not all(fraction > 0 for fraction in fractions) or not math.isclose(
        sum(fractions), 1, abs_tol=1e-6
    ):
        raise ValueError(
            f"fractions should be positive and sum to 1, but {fractions} sum to {sum(fractions):g}."
        )
    if "text" not in rows:
        raise ValueError(f"rows should have a column 'text', but have {list(rows.columns)}.")
    salt = int(seed).to_bytes(8, "little", signed=True)
    digests = [_digest(comparison_key(text), salt) for text in rows["text"]]
    groups, digests = pd.factorize(np.array(digests, np.uint64))
    sizes = np.bincount(groups, minlength=len(digests))
    classes = np.zeros(len(digests), np.int64)
    if "label" in rows:
        classes = pd.factorize(rows["label"].groupby(groups).min())[0]
    part_of_group = np.empty(len(digests), np.int64)
    for members in pd.Series(classes).groupby(classes).indices.values():
        members = members[np.argsort(digests[members])]
        part_of_group[members] = _cut(sizes[members], fractions)
    part_of_row = part_of_group[groups]
    for part, fraction in enumerate(fractions):
        if not np.any(part_of_row == part):
            raise ValueError(
                f"part {part} (fraction {fraction:g}) would be empty: {len(digests)} different "
                f"texts are too few for {len(fractions)} parts."
            )
    return tuple(rows[part_of_row == part] for part in range(len(fractions)))


def _digest(key, salt):
    data = key.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=salt).digest(), "little")


def _cut(sizes, fractions):
    """Gives every group of a class, in order, its part.

    Args:
        sizes: (groups,), the number of rows of each group.
        fractions: The share of every part.

    Returns:
        (groups,), ints.
    """
    num_groups, num_parts = len(sizes), len(fractions)
    if num_groups < num_parts:
        return np.argsort(-np.array(fractions), kind="stable")[:num_groups]
    middles = np.cumsum(sizes) - sizes / 2
    cuts = np.searchsorted(middles, np.cumsum(fractions)[:-1] * sizes.sum())
    for part in range(num_parts - 1):  # at least one group each ...
        cuts[part] = max(cuts[part], cuts[part - 1] + 1 if part else 1)
    for part in reversed(range(num_parts - 1)):  # ... and as many left as parts that follow
        cuts[part] = min(cuts[part], num_groups - (num_parts - 1 - part))
    return np.searchsorted(cuts, np.arange(num_groups), side="right")
