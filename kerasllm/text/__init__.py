"""From raw Chinese text to lists of token ids: cleaning, segmentation, vocabularies.

Nothing here knows a model or imports TensorFlow, so the same code serves training and prediction.
"""

from kerasllm.text.augmentation import BackTranslation, TextAugmenter
from kerasllm.text.bpe_tokenizer import BPETokenizer
from kerasllm.text.char_tokenizer import CharTokenizer
from kerasllm.text.char_vocabulary_tokenizer import CharVocabularyTokenizer
from kerasllm.text.cleaning import TextCleaner
from kerasllm.text.jieba_tokenizer import JiebaTokenizer
from kerasllm.text.pipeline import TextPipeline
from kerasllm.text.pipeline_files import TOKENIZERS
from kerasllm.text.vocabulary import Vocabulary
from kerasllm.text.word_vectors import read_word_vectors
from kerasllm.text.wordpiece_tokenizer import WordPieceTokenizer
from kerasllm.text.wordpiece_vocabulary import train_wordpiece_vocabulary

__all__ = [
    "TOKENIZERS",
    "BPETokenizer",
    "BackTranslation",
    "CharTokenizer",
    "CharVocabularyTokenizer",
    "JiebaTokenizer",
    "TextAugmenter",
    "TextCleaner",
    "TextPipeline",
    "Vocabulary",
    "WordPieceTokenizer",
    "read_word_vectors",
    "train_wordpiece_vocabulary",
]
