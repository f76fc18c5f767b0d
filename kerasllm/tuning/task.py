"""The rows that every trial of a search learns from, and their encodings."""

import dataclasses

import numpy as np

from kerasllm.text import (
    CharTokenizer,
    JiebaTokenizer,
    TextCleaner,
    TextPipeline,
    WordPiecePipeline,
)

TOKENIZERS = {"jieba": JiebaTokenizer, "char": CharTokenizer}
ENCODINGS_KEPT = 3


@dataclasses.dataclass(frozen=True)
class EncodedTask:
    """A pipeline and what it makes of the rows: `(token ids, label ids)` of each part."""

    pipeline: TextPipeline | WordPiecePipeline
    train: tuple
    valid: tuple | None


class TextTask:
    """Training and validation rows, encoded once for each way of cutting texts into tokens.

    Args:
        train: DataFrame of the training rows, with `text` and `label`.
        valid: The same of the validation rows; None where nothing is judged.
        max_length: Tokens of a text; the rest is cut.
        max_vocabulary: Largest size of a vocabulary.
    """

    def __init__(self, train, valid=None, max_length=256, max_vocabulary=50_000):
        self.train, self.valid = train, valid
        self.max_length, self.max_vocabulary = max_length, max_vocabulary
        self.labels = sorted(set(train["label"]))
        self._encoded = {}

    def encoded(self, tokenizer, min_frequency):
        """The `EncodedTask` of a tokenizer, "jieba" or "char"; the last few are kept."""
        key = tokenizer, min_frequency
        return self._kept(key, lambda: self._fitted_pipeline(tokenizer, min_frequency))

    def encoded_with(self, tokenizer, max_length):
        """The `EncodedTask` of a pretrained model's tokenizer; the last few are kept.

        Args:
            tokenizer: A `kerasllm.text.WordPieceTokenizer`.
            max_length: Tokens of a text; the rest is cut.
        """
        key = id(tokenizer), max_length
        return self._kept(key, lambda: WordPiecePipeline(tokenizer, self.labels, max_length))

    def _kept(self, key, make_pipeline):
        found = self._encoded.pop(key, None) or self._encode(make_pipeline())
        self._encoded[key] = found  # the latest at the end
        while len(self._encoded) > ENCODINGS_KEPT:
            self._encoded.pop(next(iter(self._encoded)))
        return found

    def _fitted_pipeline(self, tokenizer, min_frequency):
        return TextPipeline.fit(
            self.train["text"].tolist(),
            cleaner=TextCleaner(),
            tokenizer=TOKENIZERS[tokenizer](),
            max_size=self.max_vocabulary,
            min_frequency=min_frequency,
            spell_unknown=True,
            labels=self.labels,
            max_length=self.max_length,
        )

    def _encode(self, pipeline):
        def encode(rows):
            ids = [np.array(text, "int32") for text in pipeline.encode(rows["text"].tolist())]
            return ids, pipeline.label_ids(rows["label"])

        valid = None if self.valid is None else encode(self.valid)
        return EncodedTask(pipeline, encode(self.train), valid)
