"""A text pipeline as a layer: raw texts in, token ids out, inside the model."""

import keras

from kerasllm.layers.character_segmentation import CharacterSegmentation
from kerasllm.layers.jieba_segmentation import JiebaSegmentation
from kerasllm.layers.string_layer import StringLayer, string_vector
from kerasllm.layers.text_cleaning import TextCleaning
from kerasllm.text import pipeline_files
from kerasllm.text.char_tokenizer import CharTokenizer
from kerasllm.text.cleaning import TextCleaner
from kerasllm.text.jieba_tokenizer import JiebaTokenizer
from kerasllm.text.pipeline import TextPipeline
from kerasllm.text.vocabulary import Vocabulary


@keras.saving.register_keras_serializable(package="kerasllm")
class TextEncoding(StringLayer):
    """Does what `TextPipeline.encode` does, in C++ inside the graph: cleaning, cutting, ids.

    The ids are those of the pipeline for every text in UTF-8. A SavedModel takes vocabulary and
    dictionary along, so it takes raw texts where it is served and needs only
    `libkerasllm_ops.so` there. In `tf.data`, use it in `map`. TensorFlow backend only, with the
    native library.

    Examples:

        encode = TextEncoding(pipeline)
        texts = keras.Input((), dtype="string")
        end_to_end = keras.Model(texts, model(encode(texts)))

    Args:
        pipeline: A `kerasllm.text.TextPipeline` with a `TextCleaner` and a `JiebaTokenizer` or
            `CharTokenizer`.
        **kwargs: Those of every layer.

    Call arguments:
        inputs: A string tensor `(batch,)` or `(batch, 1)`, UTF-8; what is none counts as U+FFFD.

    Returns:
        int32 `(batch, length)`, as long as the longest text, padded with 0.

    Raises:
        ValueError: If cleaner or tokenizer are of other classes.
        RuntimeError: If Keras does not run on TensorFlow, or the native library is not there.
    """

    def __init__(self, pipeline, **kwargs):
        super().__init__("kerasllm.text.TextPipeline.encode", **kwargs)
        from kerasllm_ops import text_encoding

        if type(pipeline.cleaner) is not TextCleaner:
            raise ValueError(
                "TextEncoding has the cleaning of a TextCleaner, but the pipeline's cleaner is a"
                f" {type(pipeline.cleaner).__name__}."
            )
        self.pipeline = pipeline
        self._cleaning = TextCleaning(**pipeline.cleaner.get_config())
        self._segmentation = _segmentation(pipeline.tokenizer)
        self._vocabulary = text_encoding.Vocabulary(pipeline.vocabulary.to_bytes())

    def call(self, inputs):
        from kerasllm_ops.text_encoding import vocabulary_encode

        tokens = self._segmentation(self._cleaning(string_vector(inputs)))
        return vocabulary_encode(
            self._vocabulary, tokens, self.pipeline.spell_unknown, self.pipeline.max_length
        )

    def get_config(self):
        pipeline = self.pipeline
        return {
            **super().get_config(),
            "pipeline": {
                "cleaner": pipeline.cleaner.get_config(),
                "tokenizer": type(pipeline.tokenizer).__name__,
                "tokenizer_config": pipeline.tokenizer.get_config(),
                "vocabulary": pipeline.vocabulary.tokens,
                "labels": pipeline.labels,
                "max_length": pipeline.max_length,
                "spell_unknown": pipeline.spell_unknown,
            },
        }

    @classmethod
    def from_config(cls, config):
        saved = config["pipeline"]
        pad_token, unknown_token, *tokens = saved["vocabulary"]
        tokenizer = pipeline_files.TOKENIZERS[saved["tokenizer"]]
        pipeline = TextPipeline(
            TextCleaner.from_config(saved["cleaner"]),
            tokenizer.from_config(saved["tokenizer_config"]),
            Vocabulary(tokens, pad_token, unknown_token),
            saved["labels"],
            saved["max_length"],
            saved["spell_unknown"],
        )
        return cls(**{**config, "pipeline": pipeline})


def _segmentation(tokenizer):
    """The layer that does what a tokenizer does."""
    if type(tokenizer) is JiebaTokenizer:
        return JiebaSegmentation(**tokenizer.get_config())
    if type(tokenizer) is CharTokenizer:
        return CharacterSegmentation(**tokenizer.get_config())
    raise ValueError(
        "TextEncoding has the segmentation of a JiebaTokenizer and of a CharTokenizer, but the"
        f" pipeline's tokenizer is a {type(tokenizer).__name__}."
    )
