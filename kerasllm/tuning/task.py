"""The rows that every trial of a search learns from, and their encodings."""

import dataclasses

import numpy as np

from kerasllm.text import CharTokenizer, JiebaTokenizer, TextCleaner, TextPipeline

TOKENIZERS = {"jieba": JiebaTokenizer, "char": CharTokenizer}
ENCODINGS_KEPT = 3


@dataclasses.dataclass(frozen=True)
class EncodedTask:
    """A pipeline and what it makes of the rows: `(token ids, label ids)` of each part."""

    pipeline: TextPipeline
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
        found = self._encoded.pop(key, None) or self._encode(*key)
        self._encoded[key] = found  # the latest at the end
        while len(self._encoded) > ENCODINGS_KEPT:
            self._encoded.pop(next(iter(self._encoded)))
        return found

    def _encode(self, tokenizer, min_frequency):
        pipeline = TextPipeline.fit(
            self.train["text"].tolist(),
            cleaner=TextCleaner(),
            tokenizer=TOKENIZERS[tokenizer](),
            max_size=self.max_vocabulary,
            min_frequency=min_frequency,
            spell_unknown=True,
            labels=self.labels,
            max_length=self.max_length,
        )

        def encode(rows):
            ids = [np.array(text, "int32") for text in pipeline.encode(rows["text"].tolist())]
            return ids, pipeline.label_ids(rows["label"])

        valid = None if self.valid is None else encode(self.valid)
        return EncodedTask(pipeline, encode(self.train), valid)
