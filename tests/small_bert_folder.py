"""A folder of a small random BERT, as a masked language model leaves it."""

import keras
from recipe_helpers import OPENINGS, OPINIONS

from kerasllm.models import BertBackbone, BertMaskedLM
from kerasllm.text import WordPieceTokenizer


def write_bert_folder(folder):
    """Writes two layers with 40 positions and the characters of `make_rows`, but neither a pooler
    nor a classifier; gives the folder back."""
    characters = "".join(OPENINGS) + "".join(map("".join, OPINIONS.values()))
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({*characters, "，"})]
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "max_length": 40}
    model = BertMaskedLM(BertBackbone(len(tokens), pooler_activation=None, **sizes))
    model.save_pretrained(folder, WordPieceTokenizer(tokens))
    return folder
