"""The ways of searching: Keras Tuner's oracles, made to survive a kill."""

import functools
import warnings

import numpy as np

from kerasllm.tuning.oracles import RecordedOracle
from kerasllm.tuning.requirements import require_keras_tuner
from kerasllm.tuning.search_space import ALGORITHMS

keras_tuner = require_keras_tuner()

# Of Bayesian optimisation: points to choose from, and near how many of the best trials.
CANDIDATES, NEAR = 500, 5


def make_oracle(algorithm, seed=0, max_epochs=10, initial_points=6, **options):
    """An oracle that survives a kill.

    Args:
        algorithm: One of `ALGORITHMS`.
        seed: An int from 0.
        max_epochs: Of a trial of Hyperband that is seen through to the end.
        initial_points: Random trials before Bayesian optimisation begins to model them.
        **options: Of `RecordedOracle`.

    Raises:
        ImportError: If a package that the algorithm needs is missing.
        ValueError: If there is no such algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{algorithm!r} is no algorithm; expected one of {', '.join(ALGORITHMS)}.")
    options["seed"] = seed + 1  # Keras Tuner takes 0 for none
    if algorithm == "hyperband":
        options |= {"max_epochs": max_epochs, "factor": 3, "hyperband_iterations": None}
    if algorithm == "bayesian":
        options["num_initial_points"] = initial_points
        for module in ("scipy", "sklearn"):
            try:
                __import__(module)
            except ImportError as error:
                raise ImportError(
                    "Bayesian optimisation needs SciPy and scikit-learn: pip install scipy "
                    "scikit-learn."
                ) from error
    return _oracle_class(algorithm)(**options)


class QuickBayesianOracle(keras_tuner.oracles.BayesianOptimizationOracle):
    """Keras Tuner's Bayesian optimisation with the next point chosen out of many random ones.

    Keras Tuner climbs from 50 points by numerical gradients, which takes as long as a short trial
    and means little where most hyperparameters are choices. Here points of the whole space and
    points near the best trials are judged in one go. They follow from the seed and the number of
    trials, so there is no hidden state.
    """

    def populate_space(self, trial_id):
        completed = [trial for trial in self.trials.values() if trial.status == "COMPLETED"]
        if len(completed) < self.num_initial_points:
            return self._random_populate_space()
        points, scores = self._vectorize_trials()
        self.gpr.n_restarts_optimizer = 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a kernel of few trials is at its bounds
            self.gpr.fit(points, scores)
        candidates = self._candidates(points[np.argsort(scores)[:NEAR]])
        mean, deviation = self.gpr.predict(candidates, return_std=True)
        for index in np.argsort(mean - self.beta * deviation):
            values = self._vector_to_values(candidates[index])
            if not self._duplicate(values):
                return {"status": "RUNNING", "values": values}
        return self._random_populate_space()

    def _candidates(self, best):
        """Points `(candidates, dimensions)`, each coordinate one that a value has."""
        random = np.random.default_rng((self.seed, len(self.trials)))
        points = random.random((CANDIDATES, best.shape[1]))
        near = np.repeat(best, CANDIDATES // len(best), axis=0)
        moved = random.random(near.shape) < 2 / best.shape[1]  # two coordinates on average
        points = np.concatenate([points, np.where(moved, random.random(near.shape), near)])
        for column, hp in enumerate(self._nonfixed_space()):
            coordinates = [hp.value_to_prob(hp.prob_to_value(p)) for p in points[:, column]]
            points[:, column] = coordinates
        return points


@functools.cache
def _oracle_class(algorithm):
    base = {
        "random": keras_tuner.oracles.RandomSearchOracle,
        "grid": keras_tuner.oracles.GridSearchOracle,
        "bayesian": QuickBayesianOracle,
        "hyperband": keras_tuner.oracles.HyperbandOracle,
    }[algorithm]
    return type(f"Recorded{base.__name__}", (RecordedOracle, base), {})
