"""The data that ship with the package, to try things on."""

import pathlib


def reviews():
    """750 short Chinese reviews of hotels, meals, phones, books and films, our own writing.

    Three even classes, `positive`, `negative` and `neutral`, in columns `text`, `label` and
    `domain`. They are there to show a whole training run in a minute, not to measure models: the
    reviews are clearer than real ones, and some were reworded so that common opinion words recur,
    so figures on them flatter.

    Returns:
        dict of `"train"` (540 rows), `"valid"` (90) and `"test"` (120) to the CSV file's path.
    """
    folder = pathlib.Path(__file__).parent / "reviews"
    return {part: folder / f"{part}.csv" for part in ("train", "valid", "test")}
