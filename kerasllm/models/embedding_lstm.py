"""The text classifier Embedding-LSTM."""

import keras
import numpy as np

from kerasllm.layers import LSTM, Dropout, Embedding, MaskedMaxPooling1D, MaskedMeanPooling1D
from kerasllm.models.checks import check_classifier, check_positive
from kerasllm.models.model_config import ModelConfig

POOLINGS = ("last", "mean", "max")


@keras.saving.register_keras_serializable(package="kerasllm")
class EmbeddingLSTMClassifier(ModelConfig, keras.Model):
    """Classifies texts: token embeddings, one or more LSTM layers, pooling, a dense layer.

    Token id 0 is padding and takes no part; the model is therefore indifferent to how far a batch
    is padded.

    Examples:

    >>> model = kerasllm.models.EmbeddingLSTMClassifier(vocabulary_size=20000, num_classes=3)
    >>> model.compile(
    ...     optimizer="adam",
    ...     loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ...     metrics=["accuracy"],
    ... )
    >>> model.fit(token_ids, labels)  # ints (rows, time) and (rows,)

    Args:
        vocabulary_size: Number of token ids, those of padding and unknown words included.
        num_classes: Number of classes, 2 or more.
        embedding_dim: Size of a token's vector. 128 by default.
        units: Size of an LSTM's state. 128 by default.
        num_layers: Number of LSTM layers. 1 by default.
        bidirectional: Whether each layer also reads from the end. Doubles its output.
        pooling: What stands for a text: `"last"` state (of both directions), or `"mean"` or
            `"max"` over its steps.
        dropout: Rate at which features of the embeddings and of the pooled text are dropped in
            training. 0.0 by default.
        kernel_regularizer: Keras regularizer of the LSTM's and the dense layer's kernels.
        pretrained_embeddings: Array `(vocabulary_size, embedding_dim)` to start from (see
            `kerasllm.text.read_word_vectors`). Not part of the config: a saved model has weights.
        dtype: Dtype or dtype policy, such as `"mixed_bfloat16"`. The logits stay float32.
        **kwargs: `name` and `trainable` of `keras.Model`.

    Call arguments:
        inputs: int32 `(batch, time)`, token ids.

    Returns:
        Logits, float32 `(batch, num_classes)`.

    Raises:
        ValueError: If an argument makes no sense.
    """

    not_in_config = ("pretrained_embeddings",)

    def __init__(
        self,
        vocabulary_size,
        num_classes,
        embedding_dim=128,
        units=128,
        num_layers=1,
        bidirectional=False,
        pooling="last",
        dropout=0.0,
        kernel_regularizer=None,
        pretrained_embeddings=None,
        dtype=None,
        **kwargs,
    ):
        check_classifier(vocabulary_size, num_classes, pooling, POOLINGS)
        check_positive(embedding_dim=embedding_dim, units=units, num_layers=num_layers)
        kernel_regularizer = keras.regularizers.get(kernel_regularizer)

        # === Layers ===
        embedding = Embedding(
            vocabulary_size, embedding_dim, mask_zero=True, dtype=dtype, name="embedding"
        )
        recurrent_layers = [
            _recurrent_layer(
                units,
                bidirectional,
                return_sequences=index < num_layers - 1 or pooling != "last",
                kernel_regularizer=kernel_regularizer,
                dtype=dtype,
                name=f"lstm_{index}",
            )
            for index in range(num_layers)
        ]
        pooling_layer = {
            "last": None,
            "mean": MaskedMeanPooling1D(dtype=dtype, name="pooling"),
            "max": MaskedMaxPooling1D(dtype=dtype, name="pooling"),
        }[pooling]

        # === Functional model ===
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        x = embedding(token_ids)
        x = Dropout(dropout, dtype=dtype, name="embedding_dropout")(x)
        for layer in recurrent_layers:
            x = layer(x)
        if pooling_layer is not None:
            x = pooling_layer(x)
        x = Dropout(dropout, dtype=dtype, name="pooled_dropout")(x)
        logits = keras.layers.Dense(
            num_classes, kernel_regularizer=kernel_regularizer, dtype="float32", name="logits"
        )(x)
        super().__init__(inputs=token_ids, outputs=logits, **kwargs)
        if pretrained_embeddings is not None:
            _set_embeddings(embedding, pretrained_embeddings)

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_classes = num_classes
        self.embedding_dim = embedding_dim
        self.units = units
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.dropout = dropout
        self.kernel_regularizer = kernel_regularizer
        self.dtype_policy = embedding.dtype_policy  # what compile scales the loss by


def _set_embeddings(layer, embeddings):
    embeddings = np.asarray(embeddings, "float32")
    expected = tuple(layer.embeddings.shape)
    if embeddings.shape != expected:
        raise ValueError(
            f"pretrained_embeddings have shape {embeddings.shape}; expected (vocabulary_size, "
            f"embedding_dim) = {expected}."
        )
    layer.embeddings.assign(embeddings)


def _recurrent_layer(units, bidirectional, name, **kwargs):
    if not bidirectional:
        return LSTM(units, name=name, **kwargs)
    dtype = kwargs["dtype"]
    return keras.layers.Bidirectional(LSTM(units, **kwargs), dtype=dtype, name=name)
