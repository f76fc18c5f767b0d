"""Tokens to pieces of text, as they come."""

_INCOMPLETE = "\ufffd"


class TextStream:
    """Turns one text's tokens into pieces that never end within a character or a stop string.

    A token may hold a part of a character only; its piece then waits for the rest. What might be
    the begin of a stop string waits too.

    Examples:

    >>> stream = TextStream(tokenizer.decode, stop=["\\n\\n"])
    >>> pieces = [stream.add(token) for token in tokens] + [stream.finish()]

    Args:
        decode: A function of a list of token ids that gives their text.
        stop: Strings that end the text, and are not part of it.
    """

    def __init__(self, decode, stop=()):
        stop = [stop] if isinstance(stop, str) else list(stop)
        if "" in stop:
            raise ValueError("A stop string is empty; it would end every text at once.")
        self.decode, self.stop = decode, stop
        self.stopped = False
        # Tokens whose text is known, and a few before them: how a token is written may depend on
        # its neighbour (a blank at the begin of a text).
        self._tokens, self._known, self._begin = [], 0, 0
        self._held = ""

    def add(self, token):
        """The piece of text that this token completes; often empty.

        Args:
            token: A token id.
        """
        if self.stopped:
            return ""
        self._tokens.append(int(token))
        text = self._new_text()
        # More than four such tokens are no character that is still to come.
        if text.endswith(_INCOMPLETE) and len(self._tokens) - self._known < 4:
            return ""
        self._begin, self._known = self._known, len(self._tokens)
        return self._give(text)

    def finish(self):
        """What was held back; after it the stream is at its end."""
        if self.stopped:
            return ""
        piece = self._give(self._new_text())
        if not self.stopped:
            piece, self._held = piece + self._held, ""
        self.stopped = True
        return piece

    def _new_text(self):
        before = self.decode(self._tokens[self._begin : self._known])
        return self.decode(self._tokens[self._begin :])[len(before) :]

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
