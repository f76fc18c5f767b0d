"""Means and intervals against SciPy."""

import math

import pytest
from scipy import stats

from kerasllm.tuning import mean_interval, summarize, summary_table
from kerasllm.tuning.statistics import t_probability, t_quantile


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 10, 31, 100])
def test_t_distribution_is_that_of_scipy(degrees):
    for confidence in (0.5, 0.9, 0.95, 0.999):
        expected = stats.t.ppf((1 + confidence) / 2, degrees)
        assert t_quantile(confidence, degrees) == pytest.approx(expected, rel=1e-9)
        assert t_probability(expected, degrees) == pytest.approx(confidence, rel=1e-9)


def test_interval_of_a_few_values():
    values = [0.86, 0.875, 0.88]
    mean, half = mean_interval(values)
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert mean_interval([0.5, 0.5]) == (0.5, 0.0)
    assert math.isnan(mean_interval([0.5])[1])


def result(name, accuracy, seed, **values):
    figures = {"valid_accuracy": accuracy, "valid_macro_f1": accuracy, "gap": 0.1, "seconds": 2.0}
    cell = {"regularizer": name, "strength": 1.0, "seed": seed, "status": "done"}
    return {**cell, **figures, **values}


def test_summary_says_which_interval_lies_above():
    results = [result("none", 0.80 + 0.001 * seed, seed) for seed in range(3)]
    results += [result("good", 0.90 + 0.001 * seed, seed) for seed in range(3)]
    results += [result("unsure", 0.80 + 0.1 * seed, seed) for seed in range(3)]
    results += [
        {**result("broken", 0, seed), "status": "failed", "reason": "x"} for seed in range(3)
    ]
    results[4]["valid_macro_f1"] = 0.2
    rows = {row["regularizer"]: row for row in summarize(results)}
    assert rows["good"]["above_none"] == ["valid_accuracy"]
    assert rows["unsure"]["above_none"] == rows["none"]["above_none"] == []
    assert (rows["broken"]["seeds"], rows["broken"]["failed"]) == (0, 3)
    table = summary_table(rows.values()).splitlines()
    assert len(table) == 5
    assert "0.9010 ± 0.0025" in table[2] and table[2].endswith("above none: accuracy")
    assert table[4].endswith("3 failed")
    single = summary_table(summarize(results[:1]))
    assert "±" not in single and "nan" not in single
