"""Decoders kept between calls, each for one call at a time."""

import contextlib

from kerasllm.generation.decoders import make_decoder

_SMALLEST_BUFFER = 64


class DecoderPool:
    """Decoders that are not in use, with their compiled functions and buffers.

    A decoder holds the states of one batch of texts, so whoever goes on with texts takes it out and
    puts it back afterwards; who comes meanwhile (a second stream, another thread) gets another one.

    Args:
        most: Most decoders that are kept; each holds a buffer of keys and values. 4 by default.
    """

    def __init__(self, most=4):
        self.most = most
        self._free = []

    def __len__(self):
        return len(self._free)

    @contextlib.contextmanager
    def decoder(self, model, batch_size, length):
        """A decoder of a model, for the length of a `with` block.

        Args:
            model: A `CausalLM` or an `LSTMLM`.
            batch_size: Number of texts.
            length: Tokens that it needs room for; it has room for the next power of two, so that
                few are made.
        """
        buffer = _SMALLEST_BUFFER
        while buffer < length:
            buffer *= 2
        decoder = self._take(model, batch_size, buffer)
        if decoder is None:
            decoder = make_decoder(model, batch_size, buffer)
        try:
            yield decoder
        finally:
            self._free.append(decoder)
            del self._free[: -self.most]

    def _take(self, model, batch_size, buffer):
        for decoder in tuple(reversed(self._free)):
            same = decoder.model is model, decoder.batch_size, decoder.max_length
            if same == (True, batch_size, buffer):
                try:
                    self._free.remove(decoder)
                except ValueError:  # another thread was quicker
                    continue
                return decoder
        return None
