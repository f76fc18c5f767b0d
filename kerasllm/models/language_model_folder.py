"""Language models from folders: those of the pretraining recipe, and Hugging Face's."""

import pathlib

from kerasllm.models.causal_lm import CausalLM
from kerasllm.models.loading import load_model
from kerasllm.text import BPETokenizer, CharVocabularyTokenizer


def load_language_model(folder, dtype=None):
    """The language model of a folder and its tokenizer.

    Args:
        folder: A folder of `recipes/pretrain_lm.py` (model.keras and its tokenizer), or a Hugging
            Face folder of GPT-2, Llama, Qwen2 or Qwen3.
        dtype: Dtype or dtype policy; by default that of training, and of a Hugging Face folder
            Keras's own.

    Returns:
        `(model, tokenizer)`.

    Raises:
        FileNotFoundError: If the folder or a file is missing.
        ValueError: If a file is damaged, or the tokenizer is not the model's.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if (folder / "model.keras").is_file():
        model = load_model(folder / "model.keras")
        if dtype:
            weights = model.get_weights()
            model = type(model).from_config({**model.get_config(), "dtype": dtype})
            model.set_weights(weights)
    elif (folder / "config.json").is_file():
        model = CausalLM.from_pretrained(folder, **({"dtype": dtype} if dtype else {}))
    else:
        raise FileNotFoundError(
            f"{folder} holds no language model: neither model.keras nor config.json is there."
        )
    kind = CharVocabularyTokenizer if (folder / "char_tokenizer.json").is_file() else BPETokenizer
    tokenizer = kind.load(folder)
    if len(tokenizer) > model.vocabulary_size:
        raise ValueError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens, the model only "
            f"{model.vocabulary_size}."
        )
    return model, tokenizer
