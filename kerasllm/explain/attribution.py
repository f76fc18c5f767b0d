"""What the explaining methods return: a number for each token."""

import dataclasses

import numpy as np

from kerasllm.explain.render import to_html, to_terminal


@dataclasses.dataclass(frozen=True)
class Attribution:
    """How much each token of a text counted for one class.

    Attributes:
        tokens: The tokens, list of str.
        scores: float `(len(tokens),)`; positive where a token speaks for the class.
        label: The name of the class.
        output: What the model gives for the class.
        baseline_output: What it gives for the baseline, or None where the method has none.
    """

    tokens: list
    scores: np.ndarray
    label: str = ""
    output: float = float("nan")
    baseline_output: float | None = None

    @property
    def completeness_gap(self):
        """By how much the scores fail to sum to `output - baseline_output`; None without one."""
        if self.baseline_output is None:
            return None
        return float(abs(self.scores.sum() - (self.output - self.baseline_output)))

    def to_html(self):
        """A fragment of HTML with the text on colours: red speaks for the class, blue against."""
        return to_html(self.tokens, self.scores, self._title())

    def to_terminal(self):
        """The text for a terminal with 24-bit colours."""
        return to_terminal(self.tokens, self.scores, self._title())

    def _repr_html_(self):
        return self.to_html()

    def _title(self):
        return "" if np.isnan(self.output) else f"{self.label} {self.output:.3g}".strip()
