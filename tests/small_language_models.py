"""Small models with weights of some size, and a tokenizer, for the tests of generation."""

import numpy as np

from kerasllm.models import LSTMLM, CausalLM

VOCABULARY = 37
SIZES = {"vocabulary_size": VOCABULARY, "hidden_dim": 24, "num_layers": 2, "num_heads": 4}


def make_model(name, **options):
    """A model called `"gpt"`, `"modern"` or `"lstm"`, whose logits differ by more than rounding."""
    if name == "lstm":
        model = LSTMLM(VOCABULARY, embedding_dim=12, units=16, **options)
    else:
        form = {"gpt": "gpt2", "modern": "modern"}[name]
        groups = {"num_key_value_heads": 2} if name == "modern" else {}
        sizes = {**SIZES, "max_length": 128, **groups, **options}
        model = CausalLM.from_preset(form, **sizes)
    random = np.random.default_rng(5)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(random.normal(0, 2.5 * weight.shape[0] ** -0.5, weight.shape))
    return model


class LetterTokenizer:
    """Letters and a few Chinese characters and marks; id 0 ends a text."""

    end_id = 0
    letters = "\0春眠不覺曉處聞啼鳥夜來風雨聲花落知多少，。？！abcdefghij"

    def __len__(self):
        return VOCABULARY

    def encode(self, texts):
        return [[self.letters.index(letter) for letter in text] for text in texts]

    def decode(self, ids):
        return "".join(self.letters[i] if i < len(self.letters) else "~" for i in ids if i)
