"""Models that leave Python: SavedModels that take raw texts."""

from kerasllm.export.load import TextModel, load_text_model
from kerasllm.export.save import require_native_library, save_text_model

__all__ = ["TextModel", "load_text_model", "require_native_library", "save_text_model"]
