"""Why a classifier says what it says: a score for each token, and coloured text."""

from kerasllm.explain.attention import (
    attention_attribution,
    attention_rollout,
    collect_attentions,
)
from kerasllm.explain.attribution import Attribution
from kerasllm.explain.integrated_gradients import integrated_gradients
from kerasllm.explain.occlusion import occlusion
from kerasllm.explain.render import to_html, to_terminal
from kerasllm.explain.text import explain_text

__all__ = [
    "Attribution",
    "attention_attribution",
    "attention_rollout",
    "collect_attentions",
    "explain_text",
    "integrated_gradients",
    "occlusion",
    "to_html",
    "to_terminal",
]
