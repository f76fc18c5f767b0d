"""Tokens to pieces of text, as they come."""

_INCOMPLETE = "\ufffd"


class TextStream:
    """Turns one text's tokens into pieces that never end within a character or a stop string.

    A token may hold a part of a character only, or the end of one and the begin of the next; U+FFFD
    at the end of the text, which is what becomes of such a part, waits for the rest. What might be
    the begin of a stop string waits too. All pieces together are what `decode` makes of all tokens.

    Examples:

    >>> stream = TextStream(tokenizer.decode, stop=["\\n\\n"])
    >>> pieces = [stream.add(token) for token in tokens] + [stream.finish()]

    Args:
        decode: A function of a list of token ids that gives their text.
        stop: Strings that end the text, and are not part of it.
        before: Token ids that the text goes on from, a prompt's. How a token is written may depend
            on its neighbour: decoders of the Metaspace form leave out a blank at the begin of a
            text. None by default.
    """

    def __init__(self, decode, stop=(), before=()):
        stop = [stop] if isinstance(stop, str) else list(stop)
        if "" in stop:
            raise ValueError("A stop string is empty; it would end every text at once.")
        self.decode, self.stop = decode, stop
        self.stopped = False
        # Of all tokens the latest: some before those whose text is not whole yet, for a neighbour.
        self._tokens = [int(token) for token in before]
        # How many of them have their text given out, and how many characters of theirs.
        self._known, self._given = len(self._tokens), len(self.decode(self._tokens))
        self._held = ""

    def add(self, token):
        """The piece of text that this token completes; often empty.

        Args:
            token: A token id.
        """
        if self.stopped:
            return ""
        self._tokens.append(int(token))
        text = self.decode(self._tokens)
        whole = text.rstrip(_INCOMPLETE)
        new, self._given = whole[self._given :], max(self._given, len(whole))
        # Between two characters, and not where a token without text would be the only neighbour.
        if new and len(whole) == len(text):
            self._tokens = self._tokens[self._known :]
            self._known, self._given = len(self._tokens), len(self.decode(self._tokens))
        return self._give(new)

    def finish(self):
        """What was held back; after it the stream is at its end."""
        if self.stopped:
            return ""
        piece = self._give(self.decode(self._tokens)[self._given :])
        if not self.stopped:
            piece, self._held = piece + self._held, ""
        self.stopped = True
        return piece

    def _give(self, text):
        text = self._held + text
        ends = [place for place in (text.find(stop) for stop in self.stop) if place >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        hold = max((_overlap(text, stop) for stop in self.stop), default=0)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]


def _overlap(text, stop):
    """The length of the longest end of the text that a stop string begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
