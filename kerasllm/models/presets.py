"""The classifiers that recipes and searches know by name, with defaults that train well."""

import keras

from kerasllm.models.bert_classifier import BertClassifier
from kerasllm.models.embedding_lstm import EmbeddingLSTMClassifier
from kerasllm.models.transformer_classifier import TransformerClassifier

# For each name: the class, the arguments that differ from the class's defaults, and how it trains.
CLASSIFIER_PRESETS = {
    "embedding_lstm": {
        "class": EmbeddingLSTMClassifier,
        "arguments": {"bidirectional": True, "pooling": "max", "dropout": 0.6},
        "learning_rate": 2e-3,
        "warmup_share": 0.0,
    },
    "transformer": {
        "class": TransformerClassifier,
        "arguments": {"hidden_dim": 128, "pooling": "max", "dropout": 0.3},
        "learning_rate": 1e-3,
        "warmup_share": 0.1,
    },
}

# How a pretrained classifier is fine-tuned, which comes from a folder and not from a preset.
PRETRAINED_PRESETS = {
    "bert": {
        "class": BertClassifier,
        "arguments": {"dropout": 0.1},
        "learning_rate": 3e-5,
        "warmup_share": 0.1,
        "batch_size": 32,
        "epochs": 3,
    },
}


def classifier_preset(name):
    """The preset of this name, a dict with `class`, `arguments`, `learning_rate` and
    `warmup_share`, and for pretrained models `batch_size` and `epochs`.

    Raises:
        ValueError: If there is none.
    """
    presets = CLASSIFIER_PRESETS | PRETRAINED_PRESETS
    if name not in presets:
        raise ValueError(f"There is no classifier {name!r}; expected one of {', '.join(presets)}.")
    return presets[name]


def make_classifier(name, vocabulary_size, num_classes, pretrained=None, **arguments):
    """The classifier of a preset, not compiled.

    Args:
        name: The preset's name, such as `"transformer"`.
        vocabulary_size: Number of token ids, those of padding and unknown words included.
        num_classes: Number of classes.
        pretrained: The folder of a pretrained model's weights, or its name on the Hugging Face Hub.
            An encoder gets a new classifier; heads of its pretraining are left out.
        **arguments: Of the model's class, instead of the preset's.

    Returns:
        A Keras model from token ids to logits.

    Raises:
        ValueError: If there is no such preset, the model is pretrained and there is no folder, or
            the other way round, or the folder has another vocabulary.
    """
    preset = classifier_preset(name)
    if (name in PRETRAINED_PRESETS) != (pretrained is not None):
        raise ValueError(
            f"The classifier {name!r} is made {'from' if pretrained is None else 'without'} a "
            "folder of pretrained weights."
        )
    if pretrained is not None:
        model = preset["class"].from_pretrained(
            pretrained,
            num_classes=num_classes,
            missing="new",
            surplus="ignore",
            **preset["arguments"] | arguments,
        )
        if model.backbone.vocabulary_size != vocabulary_size:
            raise ValueError(
                f"{pretrained} has {model.backbone.vocabulary_size} tokens; expected "
                f"{vocabulary_size}."
            )
        return model
    return preset["class"](vocabulary_size, num_classes, **preset["arguments"] | arguments)


def default_epochs(rows, batch_size):
    """Epochs for about 2,000 steps, but no fewer than 5 and no more than 20."""
    return min(20, max(5, 2000 * batch_size // max(1, rows)))


def default_patience(epochs):
    """Epochs without improvement after which to stop: half of them, 5 at least.

    On few rows an epoch is a few steps, and the first ones go up and down.
    """
    return max(5, epochs // 2)


def make_schedule(name, train_steps, learning_rate=None, warmup_share=None, final_share=0.0):
    """The learning rate over the steps of a training: up in a line over the warm-up, then down by
    a cosine.

    Args:
        name: The preset's name.
        train_steps: Number of steps.
        learning_rate: The highest; the preset's by default.
        warmup_share: The share of the steps over which it rises; the preset's by default.
        final_share: What is left of the highest at the end: 0.0 by default; 1.0 keeps it constant.

    Returns:
        A `keras.optimizers.schedules.CosineDecay`.
    """
    preset = classifier_preset(name)
    learning_rate = learning_rate or preset["learning_rate"]
    if warmup_share is None:
        warmup_share = preset["warmup_share"]
    warmup_steps = int(warmup_share * train_steps)
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(learning_rate, train_steps, alpha=final_share)
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, train_steps - warmup_steps),
        alpha=final_share,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
