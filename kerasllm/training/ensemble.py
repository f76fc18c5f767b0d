"""One model out of several: votes of models, averages of weights."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="kerasllm")
class SoftVote(keras.layers.Layer):
    """The logarithm of the mean of several models' probabilities, which serves as logits.

    Examples:

    >>> logits = kerasllm.training.SoftVote()([first(token_ids), second(token_ids)])

    Args:
        weights: A weight for each model; all the same by default.
        **kwargs: Those of every layer.

    Call arguments:
        logits: A list of `(batch, num_classes)`.

    Returns:
        float32 `(batch, num_classes)`, of which softmax makes the weighted mean of the
        probabilities.
    """

    def __init__(self, weights=None, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.weights_of_models = None if weights is None else [float(weight) for weight in weights]

    def call(self, logits):
        weights = self.weights_of_models or [1.0] * len(logits)
        log_probabilities = [
            ops.log_softmax(ops.cast(tensor, "float32")) + float(np.log(weight / sum(weights)))
            for tensor, weight in zip(logits, weights, strict=True)
        ]
        return ops.logsumexp(ops.stack(log_probabilities), axis=0)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return {**super().get_config(), "weights": self.weights_of_models}


def soft_vote(models, weights=None):
    """A model whose probabilities are the mean of those of several models.

    The models may be of any kind, as long as they take the same inputs and know the same classes:
    usually one architecture trained from several seeds. The result saves, predicts and serves in
    `kerasllm.TextClassifier` as one model; it holds the layers of all.

    Source: Lakshminarayanan, Pritzel, Blundell, Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles, 2017.

    Examples:

    >>> model = soft_vote([train(seed) for seed in range(5)])

    Args:
        models: A list of Keras models from token ids to logits, with one input and output.
        weights: A positive weight for each model, such as its accuracy; all the same by default.

    Returns:
        A `keras.Model` from token ids to logits (logarithms of probabilities).

    Raises:
        ValueError: If there is no model, classes differ, or weights are not one each and positive.
    """
    models = list(models)
    shapes = {tuple(model.output_shape) for model in models}
    if len(shapes) != 1:
        raise ValueError(f"models should have the same classes, but their outputs are {shapes}.")
    if weights is not None and (len(weights) != len(models) or not min(weights) > 0):
        raise ValueError(f"weights are {weights}; expected {len(models)} numbers above 0.")
    for number, model in enumerate(models):
        model.name = f"member_{number}"
    first = models[0].inputs[0]
    inputs = keras.Input(first.shape[1:], dtype=first.dtype, name="token_ids")
    vote = SoftVote(weights, name="soft_vote")
    return keras.Model(inputs, vote([model(inputs) for model in models]))


def average_weights(models, weights=None):
    """A model whose weights are the mean of those of models with a common past.

    It costs no more to use than one of them. Only the weights of models that come from one starting
    point, such as one pretrained model, lie near enough for their mean to be of use: models trained
    from different initial weights should vote (`soft_vote`).

    Source: Wortsman and others, Model Soups: Averaging Weights of Multiple Fine-tuned Models
    Improves Accuracy without Increasing Inference Time, 2022.

    Args:
        models: A list of models of the same architecture.
        weights: A positive weight for each; all the same by default.

    Returns:
        A new model, not compiled.

    Raises:
        ValueError: If there is no model, they differ, or weights are not one each and positive.
    """
    models = list(models)
    shapes = {tuple(tuple(weight.shape) for weight in model.weights) for model in models}
    if len(shapes) != 1:
        raise ValueError(f"models should be of one architecture, but are of {len(shapes)}.")
    if weights is not None and (len(weights) != len(models) or not min(weights) > 0):
        raise ValueError(f"weights are {weights}; expected {len(models)} numbers above 0.")
    result = type(models[0]).from_config(models[0].get_config())
    columns = zip(*(model.get_weights() for model in models), strict=True)
    result.set_weights(
        [np.average(np.stack(column), axis=0, weights=weights) for column in columns]
    )
    return result
