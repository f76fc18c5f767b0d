"""A train step with regularisers in it."""

import dataclasses

import keras

from kerasllm.training.regularizers.embedding_hook import embedding_hook
from kerasllm.training.regularizers.lazy_tensorflow import tf


@dataclasses.dataclass
class Pass:
    """A forward pass: what it predicted, its loss on the labels, and what the embedding gave."""

    predictions: "tf.Tensor"
    loss: "tf.Tensor"  # scalar
    embeddings: "tf.Tensor | None"  # (batch, time, dim)
    mask: "tf.Tensor | None"  # bool (batch, time), false at padding


class Step:
    """One train step: a batch, the passes made over it, and the gradients that they give.

    Args:
        model: A compiled Keras model with one output.
        layer: Its embedding layer, or None where no regulariser needs it.
        regularizers: A list of `Regularizer`.
        seed: An int that the regularisers' random numbers depend on.
        data: What `fit` hands to `train_step`.
    """

    def __init__(self, model, layer, regularizers, seed, data):
        self.model, self.layer, self.regularizers = model, layer, regularizers
        self.seed = seed
        self.x, self.y, self.sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.weights = model.trainable_weights
        self.tape = None
        self._dropout_states = [
            generator.state
            for layer in model._flatten_layers()
            for generator in layer._seed_generators
        ]
        self._states_of_pass = []

    def run(self):
        """Makes the step; the logs."""
        model = self.model
        with tf.GradientTape() as self.tape:
            clean = self.forward()
            predictions = clean.predictions
            loss = clean.loss
            if model.losses:  # of weights and activities: once a step, whatever the passes
                loss += tf.add_n([tf.cast(term, loss.dtype) for term in model.losses]) / replicas()
            for regularizer in self.regularizers:
                term = regularizer.penalty(self, clean)
                loss = loss if term is None else loss + term
            scaled = model.optimizer.scale_loss(loss)
        sources = [*self.weights, *([] if self.layer is None else [clean.embeddings])]
        gradients = self.tape.gradient(scaled, unwrap(sources))
        if self.layer is not None:
            *gradients, embedding_gradients = gradients
            embedding_gradients = tf.cast(embedding_gradients, "float32")
            for regularizer in self.regularizers:
                extra = regularizer.extra_gradients(self, clean, embedding_gradients)
                if extra is not None:
                    loss += extra[0]
                    gradients = list(map(add, gradients, extra[1]))
        for regularizer in self.regularizers:
            regularizer.before_update(model)
        model.optimizer.apply_gradients(zip(gradients, self.weights, strict=True))
        self._track(loss * replicas())
        return model.compute_metrics(self.x, self.y, predictions, self.sample_weight)

    def forward(self, perturbation=None, same_noise=False):
        """Makes one pass over the batch, in training mode.

        Args:
            perturbation: float32 `(batch, time, dim)`, added to the embeddings; None for none.
            same_noise: Whether dropout, in the model's layers and in the regularisers, drops what
                it dropped in the first pass, so that the perturbation is all that differs.

        Returns:
            A `Pass`.
        """
        number = 0 if same_noise else len(self._states_of_pass)
        after = [tf.identity(state) for state in self._dropout_states]
        if same_noise:
            self._set_dropout_states(self._states_of_pass[0])
        else:
            self._states_of_pass.append(after)
        if self.layer is None:
            predictions, found = self.model(self.x, training=True), (None, None)
        else:
            predictions, found = self._forward_hooked(perturbation, number)
        if same_noise:
            self._set_dropout_states(after)
        if not tf.is_tensor(predictions):
            raise ValueError("Regularisers need a model with one output, a tensor.")
        return Pass(predictions, self._loss(predictions, number), *found)

    def gradients(self, objective):
        """The loss that `objective()` computes by further passes, and the weights' gradients.

        Returns:
            `(loss, gradients)`, as `Regularizer.extra_gradients` returns them.
        """
        with tf.GradientTape() as tape:
            loss = objective()
            scaled = self.model.optimizer.scale_loss(loss)
        return loss, tape.gradient(scaled, unwrap(self.weights))

    def perturbation_gradients(self, perturbation, objective):
        """The gradient of `objective(pass)` at a perturbation; float32 `(batch, time, dim)`."""
        with tf.GradientTape() as tape:
            tape.watch(perturbation)
            loss = objective(self.forward(perturbation, same_noise=True))
        return tape.gradient(loss, perturbation)

    def noise(self, regularizer, pass_number=0):
        """The seed of a regulariser's random numbers in a pass: int32 `(2,)`."""
        iterations = tf.cast(tf.convert_to_tensor(self.model.optimizer.iterations), "int32")
        place = self.regularizers.index(regularizer)
        key = (1_000_003 * self.seed + 1_000 * pass_number + place) % 2**31
        return tf.stack([iterations, tf.constant(key, "int32")])

    def weighted_mean(self, values):
        """A mean over the batch as Keras's losses take it: weighted, divided by the rows."""
        values = tf.reduce_mean(tf.reshape(values, (tf.shape(values)[0], -1)), axis=1)
        if self.sample_weight is not None:
            weights = tf.cast(self.sample_weight, values.dtype)
            values *= tf.reduce_mean(tf.reshape(weights, (tf.shape(weights)[0], -1)), axis=1)
        return tf.reduce_mean(values) / replicas()

    def _forward_hooked(self, perturbation, number):
        def replace_ids(token_ids, mask):
            for regularizer, noise in self._noises(number):
                token_ids = regularizer.replace_ids(token_ids, mask, noise)
            return token_ids

        def change_embeddings(embeddings, mask):
            for regularizer, noise in self._noises(number):
                embeddings = regularizer.change_embeddings(embeddings, mask, noise, self.x)
            if perturbation is not None:
                exact = tf.cast(embeddings, "float32") + perturbation
                return tf.cast(exact, embeddings.dtype)
            self.tape.watch(embeddings)  # an embedding that is not trained has gradients too
            return embeddings

        inputs = self.x
        for regularizer, noise in self._noises(number):
            inputs = regularizer.change_inputs(inputs, noise)
        with embedding_hook(self.layer, replace_ids, change_embeddings) as calls:
            predictions = self.model(inputs, training=True)
        if len(calls) != 1:
            raise ValueError(
                f"{self.layer.path} was called {len(calls)} times in a pass; expected once."
            )
        return predictions, calls[0]

    def _noises(self, number):
        """The regularisers with their noise in a pass."""
        return [(regularizer, self.noise(regularizer, number)) for regularizer in self.regularizers]

    def _loss(self, predictions, number):
        """The compiled loss, without the penalties on weights; of mixed rows, that of both."""
        loss_function, y, weights = self.model._compile_loss, self.y, self.sample_weight
        rows = tf.shape(predictions)[0]
        for regularizer, noise in self._noises(number):
            mixed = regularizer.mix_labels(rows, noise)
            if mixed is not None:
                partner, share = mixed
                own = tf.ones_like(share) if weights is None else tf.cast(weights, share.dtype)
                return loss_function(y, predictions, own * share) + loss_function(
                    tf.gather(y, partner), predictions, tf.gather(own, partner) * (1 - share)
                )
        return loss_function(y, predictions, weights)

    def _set_dropout_states(self, values):
        for state, value in zip(self._dropout_states, values, strict=True):
            state.assign(value)

    def _track(self, loss):
        tracker = next(metric for metric in self.model.metrics if metric.name == "loss")
        tracker.update_state(loss, sample_weight=tf.shape(tf.nest.flatten(self.x)[0])[0])


def replicas():
    """By what Keras divides a replica's loss, so that the sum over replicas is the mean."""
    return float(tf.distribute.get_strategy().num_replicas_in_sync)


def unwrap(variables):
    """TensorFlow's variables for Keras's, which a tape does not know."""
    return [getattr(variable, "value", variable) for variable in variables]


def add(first, second):
    """The sum of two gradients; those of an embedding's rows stay rows."""
    if first is None or second is None:
        return second if first is None else first
    if isinstance(first, tf.IndexedSlices) and isinstance(second, tf.IndexedSlices):
        return tf.IndexedSlices(
            tf.concat([first.values, second.values], 0),
            tf.concat([first.indices, second.indices], 0),
            first.dense_shape,
        )
    return tf.convert_to_tensor(first) + tf.convert_to_tensor(second)
