"""A text model behind HTTP. Needs the extra `serving`."""

from kerasllm.serving.app import Limits, create_app
from kerasllm.serving.batching import MicroBatcher, Overloaded
from kerasllm.serving.server import run_server

__all__ = ["Limits", "MicroBatcher", "Overloaded", "create_app", "run_server"]
