"""Models that leave Python: SavedModels that take raw texts."""

from kerasllm.export.load import TextModel, load_text_model
from kerasllm.export.save import save_text_model

__all__ = ["TextModel", "load_text_model", "save_text_model"]
