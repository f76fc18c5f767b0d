"""A grid of trainings that can be killed and resumed."""

import dataclasses
import json
import pathlib

from kerasllm.files import atomic_write
from kerasllm.tuning.regularizers import REGULARIZERS, treatment

RESULTS = "sweep.json"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training of a sweep: a regulariser, its strength, a seed."""

    regularizer: str
    strength: float
    seed: int

    @property
    def name(self):
        return f"{self.regularizer}_{self.strength:g}_seed_{self.seed}"


def make_cells(regularizers, seeds, strengths=None):
    """The cells of a grid, "none" always among them, in the order in which they are trained.

    All regularisers take their turn with one seed before the next seed begins, so that a sweep that
    is looked at half-way compares what can be compared.

    Args:
        regularizers: Names out of `kerasllm.tuning.REGULARIZERS`.
        seeds: Ints.
        strengths: Numbers, the same for all; by default each regulariser's own.

    Raises:
        ValueError: If a name is not known, or a regulariser refuses a strength.
    """
    cells = []
    for seed in dict.fromkeys(seeds):
        for name in dict.fromkeys(["none", *regularizers]):
            if name not in REGULARIZERS:
                treatment(name, 0.0)  # says what there is
            own = REGULARIZERS[name][0]
            chosen = own if name == "none" or not strengths else strengths
            cells += [Cell(name, float(strength), seed) for strength in dict.fromkeys(chosen)]
    for cell in cells:
        treatment(cell.regularizer, cell.strength)
    return cells


def run_sweep(cells, train, folder, report=print):
    """Trains each cell that has no result yet; a cell that fails does not stop the others.

    After each cell `sweep.json` is replaced in one go, so a sweep that was killed goes on with the
    cell that it was killed in. Cells that failed before are tried again.

    Args:
        cells: A list of `Cell`.
        train: A function of a cell to a dict of its figures, which JSON can hold.
        folder: Where `sweep.json` is kept.
        report: Gets a line about each cell.

    Returns:
        The results in the order of `cells`: dicts with the fields of the cell, `status` ("done" or
        "failed"), and the figures or the `reason`.

    Raises:
        ValueError: If `sweep.json` is damaged.
    """
    path = pathlib.Path(folder) / RESULTS
    results = {cell: result for cell, result in _read(path).items() if result["status"] == "done"}
    for number, cell in enumerate(cells, 1):
        place = f"[{number}/{len(cells)}] {cell.name}"
        if cell in results:
            report(f"{place}: done before")
            continue
        result = {**dataclasses.asdict(cell), "status": "done"}
        try:
            result.update(train(cell))
            report(f"{place}: accuracy {result['valid_accuracy']:.4f}")
        except Exception as error:  # whatever it is, the other cells can go on
            reason = f"{type(error).__name__}: {error}"
            result.update(status="failed", reason=reason)
            report(f"{place}: failed, {reason.splitlines()[0][:200]}")
        results[cell] = result
        with atomic_write(path) as file:
            json.dump({"results": list(results.values())}, file, ensure_ascii=False, indent=1)
    return [results[cell] for cell in cells]


def _read(path):
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["results"]
        return {
            Cell(result["regularizer"], result["strength"], result["seed"]): result
            for result in found
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}). Delete it to start afresh.") from error
