"""What a search may vary: hyperparameters, their ranges and defaults, as data for each preset."""

import copy
import dataclasses
import inspect
import json
import math
import pathlib

from kerasllm.models.presets import classifier_preset

ALGORITHMS = ("random", "grid", "bayesian", "hyperband")


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few values.

    Args:
        values: All str, all bool or all numbers.
        default: One of them; by default that of the model's preset, else the first.
        when: `(name, value)`: it matters only while another hyperparameter, an earlier one, has
            this value.
    """

    values: tuple
    default: object = None
    when: tuple | None = None


@dataclasses.dataclass(frozen=True)
class Range:
    """A number between two.

    Args:
        low: The smallest.
        high: The largest.
        default: By default that of the model's preset, else the middle.
        log: Whether equal quotients are equally likely, and not equal differences.
        when: As for `Choice`.
    """

    low: float
    high: float
    default: float | None = None
    log: bool = False
    when: tuple | None = None


TEXT = {
    "tokenizer": Choice(("jieba", "char")),
    "min_frequency": Choice((1, 2, 3), 2),
}
REGULARIZATION = {
    "class_weights": Choice(("none", "balanced")),
    "label_smoothing": Choice((0.0, 0.05, 0.1)),
    # Each doubles the time of a step; so there are not both.
    "second_pass": Choice(("none", "fgm", "r_drop")),
    "fgm": Range(0.1, 1.0, 0.5, log=True, when=("second_pass", "fgm")),  # epsilon
    "r_drop": Range(0.5, 4.0, 1.0, log=True, when=("second_pass", "r_drop")),  # alpha
    "word_dropout": Choice((0.0, 0.05, 0.1, 0.2)),
    "ema": Choice((0.0, 0.99)),  # decay of WeightAverage
}
OPTIMIZATION = {
    "schedule": Choice(("cosine", "constant")),
    "warmup_share": Choice((0.0, 0.1)),
    "optimizer": Choice(("adam", "adamw")),
    "weight_decay": Range(1e-3, 1e-1, 1e-2, log=True, when=("optimizer", "adamw")),
    "batch_size": Choice((32, 64, 128), 128),
    # Of the epochs that the search allows; the schedule is as long. Hyperband sets them itself.
    "epochs_share": Choice((0.3, 0.5, 1.0), 1.0),
}

# For each preset of kerasllm.models.presets; a new one takes an entry here. A name that the model's
# class has as an argument is given to it. The default of all is the preset as
# chinese_text_classification.py trains it. A grid varies the last ones first.
SEARCH_SPACES = {
    "embedding_lstm": {
        **TEXT,
        "num_layers": Choice((1, 2)),
        "pooling": Choice(("max", "mean")),
        "embedding_dim": Choice((64, 128, 256), 128),
        "units": Choice((64, 128, 192), 128),
        **REGULARIZATION,
        **OPTIMIZATION,
        "dropout": Range(0.3, 0.75),
        "learning_rate": Range(5e-4, 8e-3, log=True),
    },
    "transformer": {
        **TEXT,
        "pre_norm": Choice((False, True)),
        "pooling": Choice(("max", "mean")),
        "num_layers": Choice((1, 2, 3), 2),
        "hidden_dim": Choice((64, 128, 192), 128),
        **REGULARIZATION,
        **OPTIMIZATION,
        "dropout": Range(0.1, 0.5),
        "learning_rate": Range(3e-4, 3e-3, log=True),
    },
    # Weights, structure and tokenizer are those of the pretrained folder.
    "bert": {
        "peft": Choice(("none", "lora")),
        "lora_rank": Choice((4, 8, 16), 8, when=("peft", "lora")),
        "frozen_blocks": Choice((0, 2, 4, 6), when=("peft", "none")),  # the embeddings with them
        "layer_decay": Choice((1.0, 0.95, 0.9, 0.8), when=("peft", "none")),
        "max_length": Choice((64, 128, 256), 256),
        "dropout_samples": Choice((1, 4, 8)),  # of multi-sample dropout
        "warmup_share": Choice((0.0, 0.1, 0.2)),
        "batch_size": Choice((16, 32, 64)),
        "epochs": Choice((2, 3, 4)),  # the schedule is as long. Hyperband sets them itself
        "weight_decay": Choice((0.0, 0.01, 0.1)),
        "dropout": Range(0.05, 0.3),
        "learning_rate": Range(1e-5, 1e-4, log=True, when=("peft", "none")),
        "lora_learning_rate": Range(1e-4, 2e-3, 5e-4, log=True, when=("peft", "lora")),
    },
}
# Arguments of a pretrained model that go to its backbone.
BACKBONE_ARGUMENTS = {"attention_dropout"}


class SearchSpace:
    """The hyperparameters of a search over one preset.

    Examples:

    >>> space = SearchSpace("embedding_lstm", {"units": [64, 96], "tokenizer": "char"})
    >>> space.defaults()["units"]
    64

    Args:
        name: The preset's name.
        changes: dict of hyperparameter to what takes the place of its range: a value that stays, a
            list of values, or `{"low": ..., "high": ..., "log": true}`. Every other argument of the
            model's class may be named too.
        grid_points: Where ranges should be lists, as in a grid, how many values they have.

    Raises:
        ValueError: If a name is not known, or a range makes no sense.
    """

    def __init__(self, name, changes=None, grid_points=None):
        preset = classifier_preset(name)
        if name not in SEARCH_SPACES:
            raise ValueError(
                f"There is no search space for {name}; there are {', '.join(SEARCH_SPACES)}."
            )
        self.name, self.preset = name, preset
        parameters = inspect.signature(preset["class"].__init__).parameters
        self._arguments = set(parameters) - {"self", "kwargs", "vocabulary_size", "num_classes"}
        if "backbone" in parameters:
            self._arguments = self._arguments - {"backbone"} | BACKBONE_ARGUMENTS
        self._changed_names = set(changes or ())
        self.dimensions = dict(SEARCH_SPACES[name])
        for key, change in (changes or {}).items():
            if key not in self.dimensions and key not in self._arguments - {"dtype"}:
                known = ", ".join(sorted({*self.dimensions, *self._arguments} - {"dtype"}))
                raise ValueError(f"{key!r} is no hyperparameter of {name}; there are {known}.")
            self.dimensions[key] = self._changed(key, change)
        if grid_points:
            for key, dimension in self.dimensions.items():
                if isinstance(dimension, Range):
                    self.dimensions[key] = _points(dimension, self._default(key), grid_points)

    def defaults(self):
        """dict of name to value: the first trial's, the preset's own where the space has it."""
        return {name: self._default(name) for name in self.dimensions if self._matters(name)}

    def declare(self, hyperparameters):
        """Registers all with Keras Tuner's `HyperParameters`; dict of name to the value there."""
        values = {}
        for name, dimension in self.dimensions.items():
            options = {"default": self._default(name)}
            if dimension.when:
                parent, value = dimension.when
                options |= {"parent_name": parent, "parent_values": [value]}
            if isinstance(dimension, Range):
                options["sampling"] = "log" if dimension.log else "linear"
                found = hyperparameters.Float(name, dimension.low, dimension.high, **options)
            else:
                found = hyperparameters.Choice(name, list(dimension.values), **options)
            if found is not None:
                values[name] = found
        return values

    def limited(self, limits):
        """The same space without the choices that a task does not allow.

        Of the space's own choices those above a limit become the limit; the user's are refused.

        Args:
            limits: dict of hyperparameter, a `Choice` of numbers, to the largest value.

        Raises:
            ValueError: If a value that the user set is above its limit.
        """
        other = copy.copy(self)
        other.dimensions = dict(self.dimensions)
        for name, most in limits.items():
            dimension = self.dimensions[name]
            above = [value for value in dimension.values if value > most]
            if above and name in self._changed_names:
                raise ValueError(f"{name} is set to {above[0]}; expected at most {most}.")
            values = tuple(dict.fromkeys(min(value, most) for value in dimension.values))
            default = min(self._default(name), most)
            other.dimensions[name] = dataclasses.replace(dimension, values=values, default=default)
        return other

    def model_arguments(self, values):
        """Those of the values that the model's class takes."""
        return {name: value for name, value in values.items() if name in self._arguments}

    def _matters(self, name):
        when = self.dimensions[name].when
        return when is None or self._default(when[0]) == when[1]

    def _default(self, name):
        dimension = self.dimensions[name]
        wanted = dimension.default
        if wanted is None:
            wanted = self.preset["arguments"].get(name, self.preset.get(name))
        if isinstance(dimension, Choice):
            return wanted if wanted in dimension.values else dimension.values[0]
        if wanted is None:
            wanted = (dimension.low + dimension.high) / 2
        return float(min(max(wanted, dimension.low), dimension.high))

    def _changed(self, name, change):
        before = self.dimensions.get(name)
        when = before.when if before else None
        if isinstance(change, dict):
            return self._changed_range(name, change, before, when)
        values = change if isinstance(change, (list, tuple)) else [change]
        kinds = {_kind(value) for value in values}
        if len(kinds) != 1 or None in kinds or len(set(values)) < len(values):
            raise ValueError(
                f"The values of {name} are {values}; expected one or more, all different, all "
                "numbers, all texts, or all true or false."
            )
        if before is not None and kinds != _kinds(before):
            raise ValueError(f"{name} is set to {values}; expected values like {_shown(before)}.")
        named = kinds == {str} and name not in self._arguments
        if named and not set(values) <= set(SEARCH_SPACES[self.name][name].values):
            raise ValueError(f"{name} is set to {values}; expected some of {_shown(before)}.")
        if isinstance(before, Range) or any(type(value) is float for value in values):
            values = [float(value) for value in values]
        return Choice(tuple(values), getattr(before, "default", None), when)

    def _changed_range(self, name, change, before, when):
        try:
            low, high = float(change["low"]), float(change["high"])
            log = bool(change.get("log", getattr(before, "log", False)))
            unknown = set(change) - {"low", "high", "log"}
        except (KeyError, TypeError, ValueError):
            low, high, log, unknown = math.nan, math.nan, False, ()
        if unknown or not -math.inf < low < high < math.inf or (log and low <= 0):
            raise ValueError(
                f'The range of {name} is {change}; expected {{"low": ..., "high": ...}}, the lower '
                'one below the higher, with "log": true both above 0.'
            )
        if isinstance(before, Choice) and not any(type(v) is float for v in before.values):
            raise ValueError(f"{name} cannot be a range; expected values like {_shown(before)}.")
        return Range(low, high, getattr(before, "default", None), log, when)


def read_changes(path):
    """The changes that a JSON file holds.

    Raises:
        ValueError: If it holds no JSON object.
        OSError: If it cannot be read.
    """
    try:
        changes = json.loads(pathlib.Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}.") from error
    if not isinstance(changes, dict):
        raise ValueError(f"{path} holds a {type(changes).__name__}; expected an object.")
    return changes


def _kind(value):
    """What a value is, numbers of both types being one kind; None for what cannot be searched."""
    if isinstance(value, (bool, str)):
        return type(value)
    return float if isinstance(value, (int, float)) and math.isfinite(value) else None


def _kinds(dimension):
    return {float} if isinstance(dimension, Range) else {_kind(one) for one in dimension.values}


def _shown(dimension):
    if isinstance(dimension, Range):
        return f"{dimension.low:g} to {dimension.high:g}"
    return ", ".join(map(str, dimension.values))


def _points(dimension, default, count):
    """A range as a few values, the default among them."""
    shares = [index / max(1, count - 1) for index in range(count)]
    if dimension.log:
        quotient = dimension.high / dimension.low
        values = [dimension.low * quotient**share for share in shares]
    else:
        values = [dimension.low + (dimension.high - dimension.low) * share for share in shares]
    values = [float(f"{value:.3g}") for value in values]
    nearest = min(range(count), key=lambda index: abs(values[index] - default))
    values[nearest] = default
    return Choice(tuple(dict.fromkeys(values)), default, dimension.when)
