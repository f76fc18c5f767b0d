"""Folders of pretrained weights: Hugging Face's, and the original checkpoints of BERT.

Models read and write them with `from_pretrained` and `save_pretrained`; here is what goes with it.
"""

from kerasllm.models.pretrained.config_files import labels_of, read_config
from kerasllm.models.pretrained.download import find_folder
from kerasllm.models.pretrained.families import FAMILIES
from kerasllm.models.pretrained.tokenizer_files import load_tokenizer

__all__ = ["FAMILIES", "find_folder", "labels_of", "load_tokenizer", "read_config"]
