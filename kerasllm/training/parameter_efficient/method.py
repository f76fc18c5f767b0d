"""What a parameter-efficient method is made of."""

import dataclasses


@dataclasses.dataclass
class Attachment:
    """What a method has put onto a model.

    Attributes:
        layers: The layers that hold the new weights.
        unhooks: Functions that take the hooks out again.
        trained: Ids of the model's own variables that train, beside those of the head.
        merges: Functions that write the layers' part into the model's own weights; None where
            there is no such thing.
    """

    layers: list = dataclasses.field(default_factory=list)
    unhooks: list = dataclasses.field(default_factory=list)
    trained: set = dataclasses.field(default_factory=set)
    merges: list | None = None


class Method:
    """Base of the methods: dataclasses whose fields are what is saved.

    A subclass has a `name`, the `learning_rate` that it usually trains with, and `attach`.
    """

    name = None
    learning_rate = None

    def attach(self, model, attachment):
        """Puts the method onto a model.

        Args:
            model: A built Keras model.
            attachment: An `Attachment`, filled as hooks are put in.

        Raises:
            ValueError: If the model has nothing that the method could be put onto.
        """
        raise NotImplementedError

    def make_callbacks(self, train_steps):
        """The callbacks that a training needs."""
        return []

    def get_config(self):
        return {"name": self.name, **dataclasses.asdict(self)}


METHODS = {}


def register(method_class):
    """Makes a method known by its name."""
    METHODS[method_class.name] = method_class
    return method_class


def make_method(name, **fields):
    """A method by its name, such as `"lora"`.

    Raises:
        ValueError: If there is none of that name, or it has no such field.
    """
    if name not in METHODS:
        raise ValueError(f"There is no method {name!r}; expected one of {', '.join(METHODS)}.")
    known = {field.name for field in dataclasses.fields(METHODS[name])}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise ValueError(
            f"{name} has no {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'nothing'}."
        )
    lists = {
        key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
    }
    return METHODS[name](**lists)
