"""Random texts for the cleaning: pieces of all that its patterns look for, whole and broken."""

import random

_PIECES = [
    # markup and entities
    *r"""
    < > </ <b> </b> <br/> <p> <a <i> <vector> =" ' " = /> <script> <SCRIPT </script> <style>
    </style> <!-- --> <ſcript> <ſtyle> <ıns> & ; # &# &#x &amp; &lt;b&gt; &nbsp; &nbsp &NBSP
    &nbspx &amp;nbsp; &hearts; &NotEqualTilde; &LT; &lt &#20013; &#x4e2d; &#X4E2D; &#0;
    &#128; &#x80; &#xD800; &#1114111; &#1114112; &#9999999; &#00000001; &copy= &ampamp; &ſect;
    """.split(),
    *('<div class="a">', "<a href='x>y' t=1>", "</script >", "<script x>", "<!DOCTYPE html>"),
    *('<?xml v="1"?>', "<a b c", "<td\u3000>", "<td\u3000a=1>", "<\u212abd>"),
    # addresses and names
    *"""
    http:// https:// HTTP:// ftp:// httpſ:// www. WWW. news.example /a?b=1 a.b.c @ ＠ @小明
    ＠Tom_Lee @a @b.cc @a-b @__ a@b.example x.y+z%1@m-n.o.cn @@ @a@b.com.1 com cn co - . , ! ? :
    。 ， ： ！ [ ] ( ) （ ） + _ ~ $ * %
    """.split(),
    # width: compatibility forms, combining marks, Hangul, Extension B
    *"""
    １ ２ Ａ ｂ ％ ℃ ㎡ ① … ² ﷺ ﬃ Å é e\u0301 \u0301 \u0323 \u0307 \u0327 가 각 ᄀ \u1161 \u11a8
    \uac00 ｶﾞ ﾞ ﾟ \u3099 \u0344 \u0f73 \u0f71 \U0001d15e \U0002f800 豈 𠀀 𪛖 𠮷 \u0958 \u2adc
    \u09c7 \u09be \u0316 ½ Ⅷ ㊗ ٣ \ue000 \ufffd \ufdd0
    """.split(),
    # controls, invisible characters, blanks, emoji
    *"\u200b\u200c\u200d\u200e\ufeff\xad\x00\x01\x07\x1c\x1f\x7f\x85\xa0\u2028\u3000\u1680\u180e",
    *"\ufe0e\ufe0f\u20e3\U000e0001\U000e0100👨👩👧☺™©〰🏽🏻 \t\n",
    *("1\ufe0f\u20e3", "#\ufe0f", "👨\u200d👩", "❤\ufe0f", "👍🏽", "🇨🇳", "\u0316" * 40, "ﾞ" * 40),
    # numbers of telephones, identity cards and bank cards
    *"""
    138 1380013 13800138000 138-0013-8000 +86 0086 (+86) 86 86- 010 (010) （0755） 0571 021 +86(010)
    6234 5678 62345678 6234567 转 转801 -801 -1234567 1.5 .5 10086 400- 0 1 2 7 9 00 110105 19491231
    002X 002x 11010519491231002X 110105194912310021 110105491231002 1999 20000229 19000229 4111 1111
    4111111111111111 4111-1111-1111-1111 6222020200112230018 -12
    """.split(),
    *("138 0013 8000", " 转 8", "4111 1111 1111 1111", " 123"),
    # repeats and plain text
    *"哈 哈哈哈 好 不 ！！！ !!! ... aaa ab 的 了 我们 酒店 Keras x".split(),
]


def random_cleaning_texts(count, seed):
    """`count` texts of up to 30 pieces, a few of them many times over."""
    generator = random.Random(seed)
    texts = []
    for _ in range(count):
        some = generator.choices(_PIECES, k=generator.randrange(1, 12))
        # Few kinds of pieces a text, so that they meet.
        pieces = generator.choices(some, k=generator.randrange(30))
        if generator.random() < 0.05:
            pieces.insert(0, generator.choice(some) * generator.randrange(150))
        texts.append("".join(pieces))
    return texts


def random_switches(seed):
    """Arguments of a `TextCleaner`."""
    generator = random.Random(seed)
    names = "html urls mentions width control".split()
    names += [f"mask_{what}" for what in ("emails", "identity_cards", "bank_cards", "phones")]
    switches = {name: generator.random() < 0.6 for name in names}
    return {**switches, "repeats": generator.choice([0, 0, 1, 2, 3])}
