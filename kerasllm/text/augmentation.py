"""More training texts out of those that there are: words swapped, deleted, moved, mistyped."""

import collections
import functools
import pathlib
import random
import re

from kerasllm.text.jieba_tokenizer import JiebaTokenizer
from kerasllm.text.tokenizer import check_texts

WORD_LISTS = pathlib.Path(__file__).parent / "word_lists"
OPERATIONS = ("synonym", "homophone", "delete", "swap")

# What is never touched: placeholders as kerasllm.text.masking writes them; everything else that is
# no Chinese character (numbers, Latin words, marks) is not either.
_PIECE = re.compile(r"(\[[A-Z]+\]|[^\u4e00-\u9fff]+)")
# Numerals alone (三百), several and what they count (三百元), one and a unit (两天).
_DIGIT = "[零〇一二两三四五六七八九十百千万亿几半第点]"
_UNIT = "[个元块角毛天年月日号周时秒次遍份斤两克米里位名人家层楼盒碗杯瓶件条只本张]"
_NUMERALS = re.compile(f"{_DIGIT}+|{_DIGIT}{{2,}}.+|{_DIGIT}{_UNIT}")
# A text without them says the opposite. Words that hold one are left alone too.
_NEGATIONS = frozenset("不没无未非别勿莫否")


class TextAugmenter:
    """Makes a changed copy of each text: easy data augmentation for Chinese.

    In a copy a share of the words is changed, each by one of the operations:

    - `"synonym"`: another word of the same meaning, out of the package's list;
    - `"homophone"`: one character is taken for another of the same sound, as input methods do;
    - `"delete"`: the word is left out;
    - `"swap"`: the word changes places with another.

    Numbers (in digits or Chinese numerals) with the word after them, Latin words, marks,
    placeholders such as `[PHONE]`, and words with a negation stay where and what they are. At least
    one word is left. What becomes of a text depends on the text, the seed and the settings alone,
    neither on its label nor on the texts beside it.

    Source: Wei, Zou, EDA: Easy Data Augmentation Techniques for Boosting Performance on Text
    Classification Tasks, 2019.

    Examples:

    >>> augment = TextAugmenter(rate=0.5, operations=["synonym"])
    >>> augment(["老板非常热情，电话[PHONE]"], seed=0)
    ['店主非常殷勤，电话[PHONE]']

    Args:
        rate: The share of words that are changed, one at least. 0.1 by default, as in the paper.
        operations: Which of the four.
        tokenizer: Cuts texts into words; a `JiebaTokenizer` by default.

    Raises:
        ValueError: If an argument makes no sense.
    """

    def __init__(self, rate=0.1, operations=OPERATIONS, tokenizer=None):
        if not 0 < rate <= 1:
            raise ValueError(f"rate is {rate}; expected a share above 0, at most 1.")
        self.operations = tuple(operations)
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown or not self.operations:
            raise ValueError(f"operations are {self.operations}; expected some of {OPERATIONS}.")
        self.rate = rate
        self.tokenizer = JiebaTokenizer() if tokenizer is None else tokenizer

    def __call__(self, texts, seed=0):
        """A changed copy of each text, in their order.

        Args:
            texts: A list of str.
            seed: An int; another one gives other copies.

        Returns:
            A list of str. A text with no word that may be changed comes back as it is.
        """
        return [self._augment(text, seed) for text in check_texts(texts)]

    def _augment(self, text, seed):
        generator = random.Random(f"{seed} {text}".encode("utf-8", "surrogatepass"))
        pieces = self._pieces(text)
        places = [
            place
            for place, piece in enumerate(pieces)
            if _changeable(piece) and not (place and _is_number(pieces[place - 1]))
        ]
        generator.shuffle(places)
        for place in places[: max(1, round(self.rate * len(places)))]:
            operation = generator.choice(self.operations)
            getattr(self, f"_{operation}")(pieces, place, places, generator)
        return "".join(pieces)

    def _pieces(self, text):
        """The text in words and, between them, what is never touched; joined, they are the text."""
        runs = _PIECE.split(text)  # Chinese at even places
        words = iter(self.tokenizer.segment(runs[::2]))
        pieces = []
        for place, run in enumerate(runs):
            if place % 2:
                pieces.append(run)
                continue
            cut = next(words)
            pieces.extend(cut if "".join(cut) == run else [run])
        return pieces

    def _synonym(self, pieces, place, places, generator):
        others = _groups("synonyms.txt").get(pieces[place])
        if others:
            pieces[place] = generator.choice(others)

    def _homophone(self, pieces, place, places, generator):
        groups, word = _groups("homophones.txt"), pieces[place]
        known = [position for position, character in enumerate(word) if character in groups]
        if known:
            position = generator.choice(known)
            other = generator.choice(groups[word[position]])
            pieces[place] = word[:position] + other + word[position + 1 :]

    def _delete(self, pieces, place, places, generator):
        if sum(bool(pieces[other]) for other in places) > 1:
            pieces[place] = ""

    def _swap(self, pieces, place, places, generator):
        others = [other for other in places if other != place]
        if others:
            other = generator.choice(others)
            pieces[place], pieces[other] = pieces[other], pieces[place]


class BackTranslation:
    """Changed copies of texts by way of another language, with translators of the user's own.

    A copy that lost or gained a number, a Latin word or a placeholder is replaced by the text
    itself, and so is an empty one: what a translator makes of entities cannot be trusted.

    Source: Sennrich, Haddow, Birch, Improving Neural Machine Translation Models with Monolingual
    Data, 2016.

    Examples:

    >>> def to_english(texts):
    ...     return ["The room is very clean"]
    >>> def to_chinese(texts):
    ...     return ["房间非常整洁"]
    >>> BackTranslation(to_english, to_chinese)(["房间很干净"])
    ['房间非常整洁']

    Args:
        forward: A function of a list of texts to a list of their translations.
        backward: The same, back.
    """

    def __init__(self, forward, backward):
        self.forward, self.backward = forward, backward

    def __call__(self, texts, seed=0):
        """A changed copy of each text, in their order; `seed` is there for the translators that
        `TextAugmenter` may be exchanged with, and not used.

        Raises:
            ValueError: If a translator does not give one text for each.
        """
        texts = check_texts(texts)
        copies = texts
        for translate in (self.forward, self.backward):
            translated = list(translate(list(copies)))
            if len(translated) != len(texts):
                raise ValueError(
                    f"The translator gave {len(translated)} texts for {len(texts)}; expected one "
                    "for each."
                )
            copies = translated
        return [
            copy if copy.strip() and entities(copy) == entities(text) else text
            for text, copy in zip(texts, copies, strict=True)
        ]


def entities(text):
    """The numbers in digits, Latin words and placeholders of a text, counted."""
    return collections.Counter(re.findall(r"\[[A-Z]+\]|[0-9]+(?:[.,:][0-9]+)*|[A-Za-z]+", text))


def _changeable(piece):
    """Whether a piece is a Chinese word that is neither a number nor holds a negation."""
    chinese = piece and not _PIECE.fullmatch(piece)
    return bool(chinese) and not _is_number(piece) and _NEGATIONS.isdisjoint(piece)


def _is_number(piece):
    """Whether a piece is a Chinese numeral, or ends in a digit."""
    return piece[-1:].isdigit() or _NUMERALS.fullmatch(piece) is not None


@functools.cache
def _groups(name):
    """A word list: each word to the others of its group."""
    groups = {}
    for line in (WORD_LISTS / name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            words = line.split()
            groups.update({word: [other for other in words if other != word] for word in words})
    return groups
