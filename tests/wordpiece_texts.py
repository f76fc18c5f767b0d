"""Vocabularies and texts for the tests of WordPiece, and `tokenizers` set up as BERT's."""

import csv
import random
import unicodedata

import pytest

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# Pieces that the hard cases are made of, beside what training finds.
HARD = (
    "é ı ß Σ ς σ K Å < ; ` ⅷ 가 ᄀ ##ᅡ ##ᆨ １ Ａ ㎏ 豈 更 龜 𠀀 𪜀 i̇ ##̇ ##e ##é ##\u0301"
    " \u302e \u302f \u1b44 ##\u302e ##\u302f ##\u1b44 \U0001d157 ##\U0001d165 ##\U0001d16e"
    " \U0002b820 ##\u0915 ab## ###"
).split()

POOLS = [
    "的一是不了人我在有他这中大来上国个到说们",
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "éèüöñÅåçÇİıßẞΣςσǅ",
    "0123456789",
    "!?,.;:'\"()[]{}#$%^&*-_=+/\\|~`，。！？、；：《》“”…—",
    "   \t\n\r\u3000\xa0\u2003\u2028\u200b\ufeff",
    ["👍", "😀", "👨‍👩‍👧", "🇨🇳", "❤️"],
    "𠀀𠮷𪜀𫝀\U0002b820\U0002b91f\U0002b920\U0002ceb0豈龜",
    "\0\x01\x0b\x0c\x1c\x85\x7f\xad\u200d\u202e",
    "\u0301\u0300\u0345\u0308\u0334\u0f71\u0f72\u0f73\u0344\u302e\u302f\u1b44"
    "\U0001d165\U0001d15e\U0001d160\u08d4\u1df6\u0958",
    "가각힣각",
    "\ufffd\ue000\U000e0001\uffff\U0010ffff",
]


def reference(
    tokens, *, lowercase=True, strip_accents=None, split_cjk=True, special=True, most=100
):
    """`tokenizers` as `transformers.BertTokenizerFast` sets it up."""
    tokenizers = pytest.importorskip("tokenizers", reason="the reference, tokenizers, is missing")
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            {token: token_id for token_id, token in enumerate(tokens)},
            unk_token="[UNK]",
            max_input_chars_per_word=most,
        )
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=split_cjk
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    if special:
        tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = tokenizers.processors.BertProcessing(
        ("[SEP]", tokens.index("[SEP]")), ("[CLS]", tokens.index("[CLS]"))
    )
    return tokenizer


def real_texts(folder):
    """Cells and lines of the shared data sets."""
    texts = []
    for name in ("waimai_10k/valid.csv", "thucnews_headlines/valid.csv", "songci_tune/valid.csv"):
        with open(folder / name, encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                texts += row
    for name in ("tang_quatrains_lm/valid.txt", "tinyshakespeare_lm/valid.txt"):
        texts += (folder / name).read_text(encoding="utf-8").split("\n")
    return texts


def hard_vocabulary():
    """Special tokens, HARD, and the letters of POOLS, at the beginning of a word and inside."""
    letters = sorted({unicodedata.normalize("NFD", c.lower())[0] for pool in POOLS for c in pool})
    letters = [c for c in letters if not c.isspace() and unicodedata.category(c)[0] != "C"]
    pieces = ["ing", "##ing", "un", "##ab", "##able", "20", "##24", "th", "##e", "the", "##1"]
    return list(dict.fromkeys([*SPECIAL, *HARD, *letters, *(f"##{c}" for c in letters), *pieces]))


def random_texts(count, tokens, seed=0):
    """Mixtures of POOLS, of any code points and of tokens."""
    source = random.Random(seed)

    def part(pools):
        chance = source.random()
        if chance < 0.03:
            return source.choice([*SPECIAL, "[MASK", "CLS]", "[[MASK]]", "##"])
        if chance < 0.08:
            return chr(source.choice([source.randrange(0x300, 0x3000), source.randrange(0x110000)]))
        if chance < 0.12:
            return source.choice(tokens).replace("##", "")
        return source.choice(source.choice(pools))

    texts = []
    for _ in range(count):
        pools = source.choices(POOLS, k=source.choice([1, 2, 3, 5]))
        text = "".join(part(pools) for _ in range(source.choice([1, 3, 8, 20, 60])))
        texts.append("".join(c for c in text if not "\ud800" <= c <= "\udfff"))
    return texts


def differences(tokenizer, rows, expected):
    """Texts whose ids or code-point offsets differ from `tokenizers`' encodings of them."""
    found = tokenizer.tokenize(rows)
    splits = found["row_splits"].tolist()
    ids, starts, ends = (found[name].tolist() for name in ("token_ids", "starts", "ends"))
    different = []
    for row, encoding in enumerate(expected):
        part = slice(splits[row], splits[row + 1])
        offsets = list(zip(starts[part], ends[part], strict=True))
        if ids[part] != encoding.ids or offsets != encoding.offsets:
            different.append(rows[row])
    return different
