"""Which language model to train in a given time, on a given corpus."""

import dataclasses
import math

from kerasllm.models import LSTMLM, CausalLM
from kerasllm.training.pretraining.machine import matrix_weights, training_flops_per_token

MODELS = ("lstm", "gpt", "modern")

# Of the loss that a transformer of N weights reaches on D tokens, E + A / N^a + B / D^b (Hoffmann
# et al., Training Compute-Optimal Large Language Models, 2022, approach 3).
_A, _ALPHA, _B, _BETA = 406.4, 0.34, 410.7, 0.28
# Tokens that come again are worth less each time; after so many repetitions hardly anything
# (Muennighoff et al., Scaling Data-Constrained Language Models, 2023).
_USEFUL_REPETITIONS = 15.4
# (hidden_dim, num_layers), from small to large; heads have 64 elements.
_TRANSFORMERS = (
    *((64, 2), (128, 2), (128, 4), (192, 4), (256, 4), (256, 6), (384, 6), (512, 8), (640, 10)),
    *((768, 12), (1024, 16), (1024, 24), (1280, 36), (1600, 48)),
)
# (units, num_layers)
_LSTMS = ((64, 1), (128, 1), (256, 1), (256, 2), (384, 2), (512, 2), (768, 2), (1024, 2), (1536, 3))


@dataclasses.dataclass
class LanguageModelShape:
    """A language model before it is built, and how it trains.

    Attributes:
        model: `"lstm"`, `"gpt"` or `"modern"`.
        vocabulary_size: Number of token ids.
        hidden_dim: Size of a token's vector, and units of an LSTM.
        num_layers: Number of layers.
        length: Tokens of a row.
        batch_size: Rows of a batch.
        learning_rate: The highest.
        dropout: Its rate.
    """

    model: str
    vocabulary_size: int
    hidden_dim: int
    num_layers: int
    length: int
    batch_size: int
    learning_rate: float
    dropout: float

    def build(self, dtype="float32"):
        """The model, with fresh weights."""
        if self.model == "lstm":
            return LSTMLM(
                self.vocabulary_size,
                embedding_dim=self.hidden_dim,
                units=self.hidden_dim,
                num_layers=self.num_layers,
                dropout=self.dropout,
                weight_dropout=self.dropout,
                dtype=dtype,
            )
        return CausalLM.from_preset(
            {"gpt": "gpt2"}.get(self.model, self.model),
            vocabulary_size=self.vocabulary_size,
            hidden_dim=self.hidden_dim,
            num_layers=self.num_layers,
            num_heads=max(1, self.hidden_dim // 64),
            max_length=self.length,
            dropout=self.dropout,
            dtype=dtype,
        )

    def weights(self):
        """Number of weights that a token is multiplied with, about."""
        layer = 8 if self.model == "lstm" else 12
        return (layer * self.num_layers * self.hidden_dim + self.vocabulary_size) * self.hidden_dim

    def flops_per_token(self, model=None):
        """The arithmetic of training on a token.

        Args:
            model: The built model, for its exact number of weights.
        """
        head = self.vocabulary_size * self.hidden_dim
        return training_flops_per_token(
            self.weights() - head if model is None else matrix_weights(model),
            vocabulary_weights=head,
            attention_layers=0 if self.model == "lstm" else self.num_layers,
            attention_dim=self.hidden_dim,
            keys_per_query=self.length / 2,
        )


def choose_language_model(model, vocabulary_size, cache, flops, **given):
    """The shape that learns most from a corpus with so much arithmetic.

    * The size is that of the least loss by the law of Hoffmann et al. (2022): a large model sees
      few tokens in the time, a small one makes little of many. Tokens that come again count by the
      law of Muennighoff et al. (2023).
    * The dropout grows with the number of times that the corpus is gone through: what has been seen
      often is learned by heart.
    * Rows are as long as documents are, up to a bound that grows with the size.
    * Batches grow with the size, learning rates fall.

    Args:
        model: `"lstm"`, `"gpt"` or `"modern"`.
        vocabulary_size: Number of token ids.
        cache: The corpus's `TokenCache`.
        flops: Operations that the budget has time for.
        **given: Attributes of `LanguageModelShape` that are taken by hand.

    Returns:
        A `LanguageModelShape`.
    """
    if model not in MODELS:
        raise ValueError(f"There is no model {model!r}; expected one of {', '.join(MODELS)}.")
    given = {name: value for name, value in given.items() if value is not None}
    sizes = _LSTMS if model == "lstm" else _TRANSFORMERS
    shapes = [_shape(model, vocabulary_size, cache, flops, *size, given) for size in sizes]
    return min(shapes, key=lambda shape: predicted_loss(shape, flops, len(cache)))


def predicted_loss(shape, flops, corpus_tokens):
    """The part of the loss that size and data decide, for comparing shapes; no loss to expect.

    Args:
        shape: A `LanguageModelShape`.
        flops: Operations that there is time for.
        corpus_tokens: Tokens of the corpus.
    """
    tokens = flops / shape.flops_per_token()
    repetitions = max(0.0, tokens / corpus_tokens - 1)
    useful = _USEFUL_REPETITIONS * -math.expm1(-repetitions / _USEFUL_REPETITIONS)
    tokens = min(tokens, corpus_tokens * (1 + useful))
    return _A / shape.weights() ** _ALPHA + _B / tokens**_BETA


def _shape(model, vocabulary_size, cache, flops, hidden_dim, num_layers, given):
    hidden_dim = given.get("hidden_dim", hidden_dim)
    longest = 128 if hidden_dim <= 256 else 256 if hidden_dim <= 384 else 512
    if hidden_dim >= 768:
        longest = 1024
    mean_document = len(cache) / cache.documents
    length = given.get("length", _power_of_two(min(longest, max(64, 2 * mean_document))))
    shape = LanguageModelShape(
        model=model,
        vocabulary_size=vocabulary_size,
        hidden_dim=hidden_dim,
        num_layers=given.get("num_layers", num_layers),
        length=length,
        batch_size=0,
        learning_rate=3e-3 * min(1.0, (128 / hidden_dim) ** 0.5),
        dropout=0.0,
    )
    tokens = flops / shape.flops_per_token()
    # Of more tokens half the growth goes into the batch, half into the number of steps.
    batch_tokens = min(max(2048, math.sqrt(tokens)), 1 << 19)
    shape.batch_size = max(1, _power_of_two(batch_tokens / length))
    epochs = tokens / len(cache)
    shape.dropout = next(rate for limit, rate in _DROPOUTS if epochs <= limit)
    return dataclasses.replace(shape, **given)


_DROPOUTS = ((2, 0.0), (10, 0.1), (30, 0.2), (math.inf, 0.3))


def _power_of_two(number):
    """The power of two that is nearest, in ratio."""
    return 2 ** max(0, round(math.log2(number)))
