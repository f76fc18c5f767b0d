"""How long a step takes, without a trace of it in the model."""

import statistics
import time

import numpy as np


def measure_step_seconds(steps, make_batches, rows, seconds):
    """The time of a training step, the median over as many as fit in the time, 3 at least.

    The steps are real ones; afterwards the variables of model and optimizer have the values that
    they had before, so that a training begins as if nothing had been measured.

    Args:
        steps: A `CompiledSteps`.
        make_batches: The function `(first_row, rows)` that training will use.
        rows: Rows of a batch.
        seconds: How long to measure, besides compiling.
    """
    variables = [*steps.model.variables, *steps.optimizer.variables]
    values = [np.array(variable) for variable in variables]
    batches = {name: array[np.newaxis] for name, array in make_batches(0, rows).items()}
    steps(batches, [0.0])  # compiles
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begun = time.perf_counter()
        steps(batches, [0.0])
        times.append(time.perf_counter() - begun)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return statistics.median(times)
