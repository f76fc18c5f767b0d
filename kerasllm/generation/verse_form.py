"""The form of a quatrain as a constraint on tokens."""

import numpy as np

MARKS = "，。？！"


class VerseForm:
    """Four lines of five or of seven characters, each closed by its mark, and nothing after them.

    A constraint for `generate_tokens` and `TextGenerator`. The first mark settles the length of the
    lines. What the prompt has counts as the begin of the poem.

    Examples:

    >>> form = VerseForm(tokenizer, prompt="牀前明月光，")
    >>> generator.generate(["牀前明月光，"], Sampling(seed=1), 40, constraint=form)

    Args:
        tokenizer: Has `decode`, `end_id` and a length. Tokens of byte pairs that hold parts of
            characters only are not used.
        prompt: What the poem begins with, in the form; all rows have the same. Empty by default.
        line_lengths: The lengths that lines may have. 5 and 7 by default.
        num_lines: Number of lines. 4 by default.
        marks: Characters that close a line.

    Raises:
        ValueError: If the prompt is not the begin of such a poem.
    """

    def __init__(self, tokenizer, prompt="", line_lengths=(5, 7), num_lines=4, marks=MARKS):
        self.line_lengths, self.num_lines, self.marks = sorted(line_lengths), num_lines, marks
        self.end_id = tokenizer.end_id
        self._texts = [tokenizer.decode([token_id]) for token_id in range(len(tokenizer))]
        self._masks = {}
        # A state: the line, the characters of it so far, and the length of lines or None.
        self._begin = self.after(prompt)
        if self._begin is None:
            raise ValueError(
                f"The prompt {prompt!r} is not the begin of {num_lines} lines of "
                f"{' or '.join(map(str, self.line_lengths))} characters, each closed by one of "
                f"{marks}."
            )

    def fits(self, text):
        """Whether a text is a whole poem of this form."""
        state = self.after(text, (0, 0, None))
        return state is not None and state[0] == self.num_lines

    def after(self, text, state=(0, 0, None)):
        """The state after a text, or None if the form forbids it."""
        line, count, length = state
        for character in text:
            if line == self.num_lines:
                return None
            if character in self.marks:
                if count not in (self.line_lengths if length is None else [length]):
                    return None
                line, count, length = line + 1, 0, count
            elif _is_written(character) and count < (length or self.line_lengths[-1]):
                count += 1
            else:
                return None
        return line, count, length

    def __call__(self, row, tokens):
        """bool `(vocabulary_size,)`, the tokens that may come after these."""
        state = self._begin
        for token in tokens:
            state = self.after(self._texts[token], state)
        if state not in self._masks:
            mask = np.array(
                [bool(text) and self.after(text, state) is not None for text in self._texts]
            )
            if state[0] == self.num_lines:
                mask[self.end_id] = True
            self._masks[state] = mask
        return self._masks[state]


def _is_written(character):
    """Whether it is a letter, as Chinese characters are for Unicode."""
    return character.isalpha() and not character.isascii()
