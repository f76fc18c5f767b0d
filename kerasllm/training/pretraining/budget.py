"""A plan kept within its time."""

# A plan is revised when it would miss the end of the budget by more than this share of what is
# left.
_TOLERANCE = 0.02


class BudgetKeeper:
    """Moves a plan's last step to where the budget of time ends.

    Args:
        budget_seconds: Time for all steps together; None keeps every plan.
        say: What takes the line that tells of a move.
    """

    def __init__(self, budget_seconds, say):
        self.budget_seconds = budget_seconds
        self.say = say
        self._begin = None

    def forget(self):
        """Forgets how long rows took: what follows takes another time, as a first step does."""
        self._begin = None

    def count_from(self, seconds, row):
        """Counts a row's time from here on, unless it is counted already.

        Args:
            seconds: Time that the training took so far.
            row: Rows that it took so far.
        """
        if self._begin is None:
            self._begin = seconds, row

    def revise(self, plan, step, seconds, steps_per_call):
        """Moves the last step of the plan, if the end of the budget would be missed.

        Args:
            plan: The `TrainingPlan`; it is changed from its full batch on only.
            step: Number of steps done.
            seconds: Time that the training took so far.
            steps_per_call: The least number of steps that are left.
        """
        if self.budget_seconds is None or self._begin is None or step < plan.ramp[-1][0]:
            return
        since, row = self._begin
        rows = plan.rows_before(step) - row
        if rows <= 0:
            return
        left = self.budget_seconds - seconds
        step_seconds = (seconds - since) / rows * plan.batch_size
        projected = (plan.last_step - step) * step_seconds
        if abs(projected - left) <= max(_TOLERANCE * left, 2 * step_seconds):
            return
        before = plan.last_step
        plan.revise(step, step + max(steps_per_call, int(left / step_seconds)))
        self.say(f"  {plan.last_step:,} steps in place of {before:,} end with the budget")
