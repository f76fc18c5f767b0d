"""Text from prompts."""

import keras

from kerasllm.generation.beam_search import beam_search
from kerasllm.generation.decoder_pool import DecoderPool
from kerasllm.generation.text_stream import TextStream
from kerasllm.generation.token_generation import ENDED, generate_tokens


class TextGenerator:
    """Goes on with texts by a language model and its tokenizer.

    Prefill and decoding are compiled once for each batch size and buffer size, and kept. Under a
    mixed policy the weights are cast once, into a copy; a generator made before further training
    does not see it. (A model whose weights are not those of its config, by LoRA or int8, is used as
    it is.) Streams and calls may run side by side, also in threads. Texts go on past the model's
    `max_length`, over a sliding context; see `generate_tokens`.

    Examples:

    >>> generator = TextGenerator(model, tokenizer)
    >>> generator.generate(["春眠不覺曉，"], Sampling(top_p=0.9, seed=1), max_tokens=30)
    >>> for piece in generator.stream("To be, or", max_tokens=100):
    ...     print(piece, end="", flush=True)

    Args:
        model: A `CausalLM` or an `LSTMLM`.
        tokenizer: Has `encode`, of a list of str to a list of lists of ids, `decode`, of ids to a
            str, `end_id` and a length: `BPETokenizer`, `CharVocabularyTokenizer` or your own.
        start_ids: Token ids before each prompt, such as the end token between documents for models
            that are trained with it; by default the tokenizer's `start_ids`, if it has any. An
            empty prompt without them begins with the end token.
        end_ids: Token ids that end a text; by default the tokenizer's `end_ids`, or its `end_id`.
    """

    def __init__(self, model, tokenizer, start_ids=None, end_ids=None):
        self.model = _in_compute_dtype(model)
        self.tokenizer = tokenizer
        if start_ids is None:
            start_ids = getattr(tokenizer, "start_ids", ())
        if end_ids is None:
            end_ids = getattr(tokenizer, "end_ids", (tokenizer.end_id,))
        self.start_ids, self.end_ids = list(start_ids), tuple(end_ids)
        self._decoders = DecoderPool()

    def generate(
        self, prompts, sampling=None, max_tokens=128, stop=(), constraint=None, num_beams=1
    ):
        """The texts that go on from prompts.

        Args:
            prompts: A list of str, of any lengths.
            sampling: A `Sampling`; greedy by default.
            max_tokens: Most new tokens of a text. 128 by default.
            stop: Strings that end a text, and are not part of it.
            constraint: See `generate_tokens`.
            num_beams: With more than 1, the likeliest text that beam search finds, without
                sampling, stop strings and constraint.

        Returns:
            A list of str, without the prompts.

        Raises:
            ValueError: If the arguments do not fit each other, or a prompt is too long.
        """
        if isinstance(prompts, str):
            raise TypeError("prompts is a str; expected a list of str.")
        token_ids = self._token_ids(prompts)
        if num_beams < 1:
            raise ValueError(f"num_beams is {num_beams}; expected 1 or more.")
        if num_beams > 1:
            if sampling is not None or stop or constraint is not None:
                raise ValueError("Beam search takes no sampling, no stop and no constraint.")
            texts = [
                beam_search(
                    self.model, ids, max_tokens, num_beams, self.end_ids, decoders=self._decoders
                )[0]
                for ids in token_ids
            ]
            return [self._text(before, ids) for ids, before in zip(texts, token_ids, strict=True)]
        streams = [TextStream(self._decode, stop, before) for before in token_ids]
        texts = [[] for _ in prompts]
        for tokens in self._steps(token_ids, sampling, max_tokens, constraint):
            for stream, text, token in zip(streams, texts, tokens, strict=True):
                if token != ENDED and token not in self.end_ids:
                    text.append(stream.add(token))
            if stop and all(
                stream.stopped or token == ENDED
                for stream, token in zip(streams, tokens, strict=True)
            ):
                break
        return [
            "".join(text) + stream.finish() for text, stream in zip(texts, streams, strict=True)
        ]

    def stream(self, prompt, sampling=None, max_tokens=128, stop=(), constraint=None):
        """The text that goes on from a prompt, piece by piece as it comes.

        The arguments are those of `generate`.

        Yields:
            str, none of which ends within a character.
        """
        token_ids = self._token_ids([prompt])
        stream = TextStream(self._decode, stop, token_ids[0])
        for tokens in self._steps(token_ids, sampling, max_tokens, constraint):
            if tokens[0] in self.end_ids:
                break
            piece = stream.add(tokens[0])
            if piece:
                yield piece
            if stream.stopped:
                return
        piece = stream.finish()
        if piece:
            yield piece

    def _text(self, before, ids):
        # How a token is written may depend on its neighbour, as in a stream.
        ids = [token for token in ids if token not in self.end_ids]
        return self._decode(before + ids)[len(self._decode(before)) :]

    def _decode(self, ids):
        # Some models have more ids than their tokenizer, up to a round number.
        size = len(self.tokenizer)
        return self.tokenizer.decode([token for token in ids if token < size])

    def _steps(self, token_ids, sampling, max_tokens, constraint):
        return generate_tokens(
            self.model, token_ids, max_tokens, sampling, self.end_ids, constraint, self._decoders
        )

    def _token_ids(self, prompts):
        return [
            self.start_ids + ids or [self.tokenizer.end_id]
            for ids in self.tokenizer.encode(list(prompts))
        ]


def _in_compute_dtype(model):
    """The model, or, under a mixed policy, a copy with its weights in the dtype that it computes
    in, if its weights are those that its config makes."""
    if model.compute_dtype == model.variable_dtype:
        return model
    config = {**model.get_config(), "dtype": model.compute_dtype}
    copy = type(model).from_config(config)
    if [weight.shape for weight in copy.weights] != [weight.shape for weight in model.weights]:
        return model
    for weight, source in zip(copy.weights, model.weights, strict=True):
        weight.assign(keras.ops.cast(source, weight.dtype))
    return copy
