"""What a few seeds say: means, and how far they can be trusted."""

import math
import statistics


def mean_interval(values, confidence=0.95):
    """The mean of a few measurements and half the width of its confidence interval.

    Student's t distribution: of three values the interval is 4.3 standard errors to either side,
    not 2.

    Examples:

    >>> mean_interval([0.86, 0.87, 0.88])
    (0.87, 0.024841377117503314)

    Args:
        values: Numbers, one or more.
        confidence: The share of such intervals that hold the true mean. 0.95 by default.

    Returns:
        `(mean, half_width)`; the half width of a single value is NaN.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    error = statistics.stdev(values) / math.sqrt(len(values))
    return mean, t_quantile(confidence, len(values) - 1) * error


def t_quantile(confidence, degrees):
    """How far from 0 Student's t stays with this probability, to either side."""
    low, high = 0.0, 1.0
    while t_probability(high, degrees) < confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if t_probability(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return high


def t_probability(t, degrees):
    """The probability that Student's t lies between `-t` and `t`.

    Source: Abramowitz, Stegun, Handbook of Mathematical Functions, 1964, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(2 + odd, degrees + 1, 2):
        total += term
        term *= square * (k - 1) / k
    if odd:
        return 2 / math.pi * (angle + sine * total)
    return sine * total


METRICS = ("valid_accuracy", "valid_macro_f1", "gap", "seconds")


def summarize(results):
    """The results of a sweep by regulariser and strength.

    Args:
        results: Dicts as `kerasllm.tuning.run_sweep` returns them.

    Returns:
        A list of dicts with `regularizer`, `strength`, `seeds` and `failed` (counts), for each of
        `METRICS` its mean and, as `NAME_interval`, half the width of its 95% interval, and
        `above_none`: the names of the metrics whose interval lies above that of "none".
    """
    groups = {}
    for result in results:
        groups.setdefault((result["regularizer"], result["strength"]), []).append(result)
    rows = []
    for (regularizer, strength), members in groups.items():
        done = [member for member in members if member["status"] == "done"]
        row = {"regularizer": regularizer, "strength": strength, "seeds": len(done)}
        row["failed"] = len(members) - len(done)
        for metric in METRICS if done else ():
            row[metric], row[f"{metric}_interval"] = mean_interval([m[metric] for m in done])
        rows.append(row)
    plain = next((row for row in rows if row["regularizer"] == "none" and row["seeds"]), None)
    for row in rows:
        row["above_none"] = [
            metric
            for metric in METRICS[:2]
            if plain is not None
            and row["seeds"]
            and row[metric] - row[f"{metric}_interval"]
            > plain[metric] + plain[f"{metric}_interval"]
        ]
    return rows


def summary_table(rows):
    """The rows of `summarize` as text, in their order."""
    header = ("accuracy", "macro F1", "gap", "seconds")
    lines = [f"{'regulariser':20}{'strength':>9}" + "".join(f"{name:>18}" for name in header)]
    for row in rows:
        line = f"{row['regularizer']:20}{row['strength']:9g}"
        if row["seeds"]:
            for metric in METRICS:
                digits = 1 if metric == "seconds" else 4
                mean, half = row[metric], row[f"{metric}_interval"]
                interval = "" if math.isnan(half) else f" ± {half:.{digits}f}"
                line += f"{f'{mean:.{digits}f}{interval}':>18}"
        if row["failed"]:
            line += f"  {row['failed']} failed"
        if row["above_none"]:
            line += "  above none: " + ", ".join(
                metric.removeprefix("valid_") for metric in row["above_none"]
            )
        lines.append(line)
    return "\n".join(lines)
