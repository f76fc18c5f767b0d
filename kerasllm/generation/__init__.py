"""Text from language models: decoding over caches, sampling, beam search, streams, constraints."""

from kerasllm.generation.beam_search import beam_search
from kerasllm.generation.decoder_pool import DecoderPool
from kerasllm.generation.decoders import RecurrentDecoder, TransformerDecoder, make_decoder
from kerasllm.generation.sampling import Sampling, choose_tokens
from kerasllm.generation.text_generator import TextGenerator
from kerasllm.generation.text_stream import TextStream
from kerasllm.generation.token_generation import ENDED, generate_tokens
from kerasllm.generation.verse_form import VerseForm

__all__ = [
    "ENDED",
    "DecoderPool",
    "RecurrentDecoder",
    "Sampling",
    "TextGenerator",
    "TextStream",
    "TransformerDecoder",
    "VerseForm",
    "beam_search",
    "choose_tokens",
    "generate_tokens",
    "make_decoder",
]
