"""Plans: budgets, batch ramps, learning rates and revisions, as functions of the step."""

import itertools
import json

import pytest

from kerasllm.training.duration import parse_duration
from kerasllm.training.pretraining import TrainingPlan


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1.5h", 5400), ("24h", 86400), (" 2d ", 172800)],
)
def test_budgets(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "0m", "-5m", "10 minutes", "", "1e3s"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(ValueError, match="is no time; expected one such as"):
        parse_duration(text)


def test_learning_rate_rises_and_falls_to_zero():
    plan = TrainingPlan(100, 8, 1e-2, warmup_steps=10)
    rates = [plan.learning_rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-3)
    assert max(rates) == rates[9] == pytest.approx(1e-2 * (1 - 0.09))
    assert all(a > b for a, b in itertools.pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(1e-2 / 100)
    assert plan.learning_rate(100) == 0


def test_ramp_takes_the_rows_that_were_asked_for():
    plan = TrainingPlan.from_rows(10_000, 32, 1e-3, ramp=((0.1, 4), (0.25, 2)))
    sizes = [plan.rows(step) for step in range(plan.total_steps)]
    assert sizes == sorted(sizes) and set(sizes) == {8, 16, 32}
    assert sum(sizes) == pytest.approx(10_000, rel=0.01)
    for step in (0, 5, 40, 41, 100, plan.total_steps):
        assert plan.rows_before(step) == sum(sizes[:step])
    for step, size in enumerate(sizes):
        alike = plan.steps_alike(step)
        assert set(sizes[step : step + alike]) == {size}
        assert step + alike == plan.total_steps or sizes[step + alike] != size


def test_revision_moves_the_end_and_leaves_the_past():
    plan = TrainingPlan(100, 8, 1e-2, warmup_steps=10)
    before = [plan.learning_rate(step) for step in range(60)]
    plan.revise(60, 80)
    assert plan.last_step == 80
    assert [plan.learning_rate(step) for step in range(60)] == before
    assert plan.learning_rate(60) == pytest.approx(1e-2 * 0.4)
    assert plan.learning_rate(70) == pytest.approx(1e-2 * 0.2)
    assert plan.learning_rate(80) == 0
    assert plan.steps_alike(75) == 5
    plan.revise(70, 90)
    assert plan.progress(70) == pytest.approx(0.8) and plan.progress(80) == pytest.approx(0.9)


def test_plan_goes_through_json():
    plan = TrainingPlan.from_rows(1_000, 16, 1e-3)
    plan.revise(30, 200)
    again = TrainingPlan(**json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    rates = [plan.learning_rate(step) for step in range(200)]
    assert [again.learning_rate(step) for step in range(200)] == rates


def test_small_plans_have_a_step():
    plan = TrainingPlan.from_rows(1, 32, 1e-3)
    assert plan.last_step == 1 and plan.rows(0) >= 1
    with pytest.raises(ValueError, match="0 steps"):
        TrainingPlan(0, 8, 1e-3, 0)
