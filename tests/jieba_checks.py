"""Texts of every kind, and what jieba makes of them."""

import contextlib
import csv
import logging
import random
import sys
import warnings

# Mode and hmm, all that jieba has.
WAYS = [("cut", True), ("cut", False), ("all", False), ("search", True), ("search", False)]

BLANKS = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
_PIECES = {
    "Latin": "abcxyzABCXYZ",
    "digits": "0123456789",
    "marks inside runs": "+#&._%-",
    "marks": "，。！？、：；“”《》（）,!?:;()[]{}<>/\\|@$^*=~`'\"",
    "blanks": [*BLANKS, "\r\n", "\n\n", "  "],
    "emoji": ["😀", "👍🏽", "❤️", "👨‍👩‍👧", "🇨🇳"],
    "other characters": "㐀㿿𠀀𠮷𪛖\U0002fa1d龥鿕鿖鿿豈éßЖひカ한γ①ⅷ½٣３Ａａ％",
    "control characters": [chr(code) for code in (*range(32), 0x7F, 0x85, 0x200B, 0xFEFF, 0xFFFD)],
    "words in Latin": ["AT&T", "c++", "C#", "T恤", "B超", "卡拉OK", "3.14%", "a.b", "1.x", "-1"],
}


def import_jieba():
    """jieba, in silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jieba
    logging.getLogger("jieba").setLevel(logging.WARNING)
    return jieba


def words_of(engine, mode, hmm, text):
    """The tokens of a `jieba.Tokenizer`."""
    if mode == "search":
        return engine.lcut_for_search(text, HMM=hmm)
    return engine.lcut(text, cut_all=mode == "all", HMM=hmm)


def random_texts(count, words, seed):
    """Texts of Chinese words and characters, likely and unlikely, and of all that `_PIECES` has.

    Args:
        count: How many.
        words: Words of the dictionary to take pieces from.
        seed: Of the random numbers.
    """
    draw = random.Random(seed)
    frequent = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动"
    kinds = list(_PIECES.values())
    for _ in range(count):
        foreign = draw.choice((0.05, 0.3, 0.8))
        text = []
        for _ in range(draw.randrange(draw.choice((4, 20, 60)))):
            chance = draw.random()
            if chance < foreign:
                text.append(draw.choice(draw.choice(kinds)))
            elif chance < foreign + 0.2 * (1 - foreign):
                text.append(chr(draw.randrange(0x4E00, 0x9FD6)))
            elif chance < foreign + 0.5 * (1 - foreign):
                text.append(draw.choice(frequent))
            else:
                word = draw.choice(words)
                start = draw.randrange(len(word)) if chance > 0.9 else 0
                text.append(word[start:])
        yield "".join(text)


def read_all_texts(folder):
    """Every text of the data sets: columns of tables, lines of text files, raw lines of the rest.

    Args:
        folder: The folder of the data sets.
    """
    csv.field_size_limit(1 << 30)
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes().decode("utf-8", "replace")
        yield from content.splitlines(keepends=True)
        if path.suffix == ".csv":
            with contextlib.suppress(csv.Error):
                for row in csv.reader(content.splitlines(keepends=True)):
                    yield from row
