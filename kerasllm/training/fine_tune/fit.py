"""Fine-tuning in one call."""

import keras

from kerasllm.metrics import MacroF1
from kerasllm.optimizers import AdamW
from kerasllm.training.fine_tune.freezing import GradualUnfreezing, freeze
from kerasllm.training.fine_tune.layer_decay import layer_multipliers
from kerasllm.training.fine_tune.schedule import LinearWarmupDecay
from kerasllm.training.weight_average import WeightAverage

# Parts of the names of biases, and of gains and shifts of normalisations.
NO_WEIGHT_DECAY = ("bias", "gamma", "beta", "scale")


def compile_model(
    model,
    train_steps,
    learning_rate=2e-5,
    warmup_share=0.1,
    weight_decay=0.01,
    layer_decay=None,
    global_clipnorm=1.0,
    gradient_accumulation_steps=None,
    loss=None,
    metrics=None,
    **compile_arguments,
):
    """Compiles a classifier for fine-tuning.

    AdamW with a linear warm-up and decay of the learning rate, gradients clipped by their global
    norm, no weight decay on biases and normalisations: what BERT was fine-tuned with (Devlin,
    Chang, Lee and Toutanova, BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding, 2019). All of it is in the compiled model's config, so that a model that was
    saved goes on as it was. Mixed precision is the model's: `dtype="mixed_bfloat16"` where it is
    made.

    Examples:

    >>> model = fine_tune.compile_model(model, train_steps=3 * len(batches), layer_decay=0.9)
    >>> model.fit(batches, epochs=3)

    Args:
        model: A built Keras model that gives logits `(batch, num_classes)`.
        train_steps: Batches in all epochs together.
        learning_rate: The peak. 2e-5 by default.
        warmup_share: The share of the steps that the learning rate rises for. 0.1 by default.
        weight_decay: A float. 0.01 by default.
        layer_decay: See `layer_multipliers`; None for the same learning rate everywhere.
        global_clipnorm: What the norm of all gradients together is clipped to; None for no
            clipping.
        gradient_accumulation_steps: Batches whose mean gradient makes one step, 2 or more; None for
            a step after each batch.
        loss: A Keras loss; the cross-entropy of integer labels and logits by default.
        metrics: A list of Keras metrics; accuracy and macro-F1 by default.
        **compile_arguments: Others of `keras.Model.compile`.

    Returns:
        The model.
    """
    multipliers = None if layer_decay is None else layer_multipliers(model, layer_decay)
    if metrics is None:
        metrics = ["accuracy", MacroF1(model.output_shape[-1])]
    if loss is None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = AdamW(
        LinearWarmupDecay(learning_rate, train_steps, int(warmup_share * train_steps)),
        weight_decay=weight_decay,
        global_clipnorm=global_clipnorm,
        gradient_accumulation_steps=gradient_accumulation_steps,
        learning_rate_multipliers=multipliers,
        no_weight_decay=NO_WEIGHT_DECAY,
    )
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics, **compile_arguments)
    return model


def fit(
    model,
    train,
    valid=None,
    epochs=3,
    frozen_embeddings=False,
    frozen_blocks=0,
    epochs_per_unfrozen_block=None,
    average_decay=None,
    callbacks=(),
    verbose="auto",
    class_weight=None,
    **arguments,
):
    """Fine-tunes a classifier: compiles it, and trains it.

    Examples:

    >>> history = fine_tune.fit(model, batches, valid=valid_batches, epochs=3, layer_decay=0.9)

    Args:
        model: A built Keras model that gives logits `(batch, num_classes)`.
        train: A dataset of known length that gives `(inputs, labels)`, such as that of
            `kerasllm.data.make_batches`.
        valid: The same, or None.
        epochs: How often all batches are seen. 3 by default.
        frozen_embeddings: Whether the embeddings stay as they are; see `freeze`.
        frozen_blocks: How many blocks stay as they are, from the lowest up, and the embeddings with
            them.
        epochs_per_unfrozen_block: If given, blocks thaw one by one; see `GradualUnfreezing`.
        average_decay: If given, the model is validated and left with an exponential moving average
            of its weights, of this `decay`; see `kerasllm.training.WeightAverage`.
        callbacks: A list of further Keras callbacks.
        verbose: As in `keras.Model.fit`.
        class_weight: As in `keras.Model.fit`.
        **arguments: Those of `compile_model`.

    Returns:
        The `keras.callbacks.History`.

    Raises:
        ValueError: If arguments do not go together, or the length of `train` is not known.
    """
    gradual = epochs_per_unfrozen_block is not None
    if gradual and (frozen_blocks or frozen_embeddings):
        raise ValueError("Layers are either frozen for good or thawed one by one, not both.")
    if gradual and average_decay is not None:
        raise ValueError("Weights that thaw one by one cannot be averaged over all steps.")
    if frozen_blocks or frozen_embeddings:
        freeze(model, embeddings=True, blocks=frozen_blocks)
    compile_model(model, epochs * _num_batches(train), **arguments)
    own = model.make_callbacks(epochs * _num_batches(train)) if hasattr(model, "adapters") else []
    own += [GradualUnfreezing(epochs_per_unfrozen_block)] if gradual else []
    own += [] if average_decay is None else [WeightAverage(average_decay)]
    return model.fit(
        train,
        validation_data=valid,
        epochs=epochs,
        callbacks=[*own, *callbacks],
        class_weight=class_weight,
        shuffle=False,  # the dataset does it
        verbose=verbose,
    )


def _num_batches(dataset):
    try:
        return len(dataset)
    except TypeError as error:
        raise ValueError(
            "The learning rate follows from the number of batches, which this dataset does not "
            "know. Give one with a length, such as that of kerasllm.data.make_batches."
        ) from error
