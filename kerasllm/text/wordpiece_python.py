"""BERT's tokenisation in plain Python, for where the native library is not: slow, the same tokens.

It goes text by text through the steps of BERT's own description, where the C++ engine looks up what
becomes of each character, so it is also a check of that.
"""

import functools
import re
import unicodedata

from kerasllm.text import wordpiece_unicode

TRUNCATIONS = ("longest_first", "only_first", "only_second")

_CJK = "3400-4dbf 4e00-9fff f900-faff 20000-2a6df 2a700-2b81f 2b920-2ceaf 2f800-2fa1f"
_SURROGATES = re.compile("[\ud800-\udfff]")


@functools.cache
def _codes(name):
    """The code points of a table, as a frozenset."""
    found = set()
    for part in (_CJK if name == "CJK" else getattr(wordpiece_unicode, name)).split():
        first, _, last = part.partition("-")
        found.update(range(int(first, 16), int(last or first, 16) + 1))
    return frozenset(found)


class PythonWordpiece:
    """The same interface and results as `kerasllm_ops.wordpiece_engine.WordpieceEngine`.

    Args:
        tokens: A list of str; a token's place is its id.
        options: What `kerasllm_ops.wordpiece_engine.WordpieceOptions` holds.
    """

    def __init__(self, tokens, options):
        self._ids = {token: token_id for token_id, token in enumerate(tokens)}
        self._options = options
        for token in options.special_tokens:
            if token not in self._ids:
                raise ValueError(f"the vocabulary lacks the special token {token!r}")
        self._unknown, self._class, self._separator, self._padding, *_ = (
            self._ids[token] for token in options.special_tokens
        )
        longest_first = sorted(options.special_tokens, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)))

    def tokenize(self, texts, offsets=None, num_threads=None):
        """See `WordpieceEngine.tokenize`; one thread works, whatever is asked."""
        import numpy as np

        rows = [self._tokens(text) for text in texts]
        row_splits = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        columns = np.array([token for row in rows for token in row], np.int64).reshape(-1, 3).T
        token_ids = columns[0].astype(np.int32)
        if offsets is None:
            return token_ids, row_splits, None, None
        if offsets == "bytes":
            columns = columns.copy()
            for row, text in enumerate(texts):
                sizes = [len(c.encode("utf-8", "surrogatepass")) for c in text]
                places = np.cumsum([0, *sizes])
                part = slice(row_splits[row], row_splits[row + 1])
                columns[1:, part] = places[columns[1:, part]]
        return token_ids, row_splits, columns[1], columns[2]

    def encode(
        self,
        texts,
        pairs=None,
        max_length=None,
        truncation="longest_first",
        pad_to_max_length=False,
        num_threads=None,
    ):
        """See `WordpieceEngine.encode`; one thread works, whatever is asked."""
        import numpy as np

        rows = []
        for row, text in enumerate(texts):
            first = [token_id for token_id, *_ in self._tokens(text)]
            second = None if pairs is None else [ids for ids, *_ in self._tokens(pairs[row])]
            if max_length is not None:
                first, second = _truncate(row, first, second, max_length, truncation)
            rows.append((first, second))
        num_special = 2 if pairs is None else 3
        length = max((len(a) + len(b or ()) + num_special for a, b in rows), default=0)
        shape = (len(rows), max_length if pad_to_max_length else length)
        token_ids = np.full(shape, self._padding, np.int32)
        segment_ids, padding_mask = np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
        for row, (first, second) in enumerate(rows):
            ids = [self._class, *first, self._separator]
            begin = len(ids)
            if second is not None:
                ids += [*second, self._separator]
            token_ids[row, : len(ids)] = ids
            segment_ids[row, begin : len(ids)] = 1
            padding_mask[row, : len(ids)] = True
        return token_ids, segment_ids, padding_mask

    def _tokens(self, text):
        """`(id, start, end)` of each token, in code points."""
        tokens, begin = [], 0
        text = _SURROGATES.sub("\ufffd", text)
        if self._options.special_tokens_in_text:
            for match in self._special.finditer(text):
                tokens += self._segment_tokens(text, begin, match.start())
                tokens.append((self._ids[match[0]], match.start(), match.end()))
                begin = match.end()
        return tokens + self._segment_tokens(text, begin, len(text))

    def _segment_tokens(self, text, begin, end):
        """The tokens of a part of a text without special tokens."""
        characters = _clean([(text[i], i) for i in range(begin, end)])
        if self._options.split_cjk:
            characters = [part for item in characters for part in _with_blanks(item)]
        if self._options.strip_accents:
            characters = _strip_accents(characters)
        if self._options.lowercase:
            characters = [(part, i) for c, i in characters for part in _lowercase(c)]
        return [token for word in _words(characters) for token in self._pieces(word)]

    def _pieces(self, word):
        """The longest pieces of a word, from left to right."""
        letters = "".join(c for c, _ in word)
        unknown = [(self._unknown, word[0][1], word[-1][1] + 1)]
        if len(word) > self._options.max_characters_per_word:
            return unknown
        pieces, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                token_id = self._ids.get(prefix + letters[start:end])
                if token_id is not None:
                    break
            else:
                return unknown
            pieces.append((token_id, word[start][1], word[end - 1][1] + 1))
            start = end
        return pieces


def _clean(characters):
    """Without control characters, all whitespace as blanks."""
    removed, spaces = _codes("REMOVED"), _codes("SPACES")
    return [(" " if ord(c) in spaces else c, i) for c, i in characters if ord(c) not in removed]


def _with_blanks(item):
    """A Chinese character with a blank on each side, another as it is."""
    character, place = item
    if ord(character) not in _codes("CJK"):
        return [item]
    return [(" ", place), item, (" ", place)]


def _strip_accents(characters):
    """Canonical decomposition and ordering, nonspacing marks dropped."""
    decomposed, nonstarters = _codes("DECOMPOSED"), _codes("NONSTARTERS")
    parts, run = [], []  # (character, whether it is the first of its parts)

    def flush():
        run.sort(key=lambda part: unicodedata.combining(part[0]))
        parts.extend(run)
        run.clear()

    for character, _ in characters:
        known = ord(character) in decomposed
        whole = unicodedata.normalize("NFD", character) if known else character
        for number, part in enumerate(whole):
            if ord(part) not in nonstarters:
                flush()
                parts.append((part, number == 0))
            else:
                run.append((part, number == 0))
    flush()
    # As in `tokenizers`, what changes its place takes the place in the text of where it goes.
    result, index = [], -1
    for part, first in parts:
        index += first
        if ord(part) not in _codes("NONSPACING"):
            result.append((part, characters[max(index, 0)][1]))
    return result


def _lowercase(character):
    younger = wordpiece_unicode.LOWERCASE.get(ord(character))
    return character.lower() if younger is None else chr(younger)


def _words(characters):
    """Lists of characters between blanks, every mark of punctuation alone."""
    words, word = [], []
    for item in characters:
        alone = ord(item[0]) in _codes("PUNCTUATION")
        if (alone or item[0] == " ") and word:
            words.append(word)
            word = []
        if alone:
            words.append([item])
        elif item[0] != " ":
            word.append(item)
    return [*words, word] if word else words


def _truncate(row, first, second, max_length, truncation):
    """The two lists of ids cut to `max_length` with their special tokens, as `tokenizers` does."""
    num_special = 2 if second is None else 3
    if max_length < num_special:
        raise ValueError(
            f"max_length is {max_length}, expected at least {num_special} (the special tokens) or"
            " 0 for any length"
        )
    room = max_length - num_special
    sizes = [len(first), len(second or ())]
    excess = sum(sizes) - room
    if truncation == "only_second" and second is None:
        raise ValueError("truncation is only_second, but there are no second texts")
    if excess <= 0:
        return first, second
    if room == 0:
        kept = [0, 0]
    elif truncation == "longest_first" and second is not None:
        shorter = min(sizes)
        longer = max(shorter, room - shorter)
        if shorter + longer > room:
            shorter = room // 2
            longer = room - shorter
        kept = [longer, shorter] if sizes[0] > sizes[1] else [shorter, longer]
    else:
        cut = TRUNCATIONS.index(truncation) == 2
        kept = list(sizes)
        kept[cut] -= excess
        if kept[cut] <= 0:
            raise ValueError(
                f"truncation of only the {'second' if cut else 'first'} text cannot bring row"
                f" {row} with {sizes[0]} and {sizes[1]} tokens to max_length {max_length} without"
                " leaving nothing of it"
            )
    return first[: kept[0]], None if second is None else second[: kept[1]]
