"""Drop-in Keras optimizers on the fused ops."""

from kerasllm.optimizers.adam import Adam, AdamW

__all__ = ["Adam", "AdamW"]
