"""Giving a model's `fit` another train step."""

import keras

from kerasllm.models.embedding import find_embedding
from kerasllm.training.regularizers.base import Regularizer


def regularize(model, regularizers, embedding=None, seed=0):
    """Puts regularisers into the train step of a compiled model, and nowhere else.

    The model stays the object that it is: `evaluate`, `predict`, callbacks and metrics are as
    before, and what `save` writes is the plain model, compiled as it was. The regularisation is
    part of the run and not of the model, so a model that was loaded to go on with is given it
    again. `fit` stays one compiled graph, under `jit_compile` and mixed precision too; the weights
    get one update a step from the sum of all gradients.

    Each regulariser says how many passes it adds. They go together in any number: penalties and
    adversarial passes see the batch as word dropout and mixup leave it.

    The logged `loss` is the sum that is minimised, `val_loss` that of the labels (and of penalties
    in the model) as always.

    Examples:

    >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> regularize(model, [RDrop(alpha=1.0), FGM(epsilon=0.5)])
    >>> model.fit(token_ids, labels, epochs=5)
    >>> regularize(model, [])  # plain training again

    Args:
        model: A compiled Keras model with one output. Most regularisers need token ids that go
            through an embedding layer.
        regularizers: A list of `kerasllm.training.regularizers.Regularizer`.
        embedding: The embedding layer, or its name or path; by default the model's only
            `keras.layers.Embedding`.
        seed: An int from 0, of the regularisers' random numbers.

    Returns:
        The model.

    Raises:
        ValueError: If the model is not compiled, has a train step or a loss of its own, or no
            embedding layer where one is needed.
        TypeError: If a regulariser is none.
        NotImplementedError: On another Keras backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            f"regularize works on the TensorFlow backend, not on {keras.backend.backend()}."
        )
    from kerasllm.training.regularizers.step import Step

    regularizers = list(regularizers)
    for regularizer in regularizers:
        if not isinstance(regularizer, Regularizer):
            raise TypeError(f"{regularizer!r} is no Regularizer.")
    for name in ("train_step", "compute_loss"):
        if getattr(type(model), name) is not getattr(keras.Model, name):
            raise ValueError(
                f"{type(model).__name__} has a {name} of its own, which would be lost."
            )
    if not model.compiled or model.loss is None:
        raise ValueError(f"{model.name} should be compiled with a loss before regularize.")
    for regularizer in regularizers:
        regularizer.check(model)
    model.__dict__.pop("train_step", None)
    model.train_function = None  # traced with the step before
    if regularizers:
        layer = None
        if embedding is not None or any(r.needs_embedding for r in regularizers):
            layer = find_embedding(model, embedding)
        model.train_step = lambda data: Step(model, layer, regularizers, seed, data).run()
    return model
