"""Cleaning of raw texts: one switch a step, the same steps in training and prediction."""

import functools
import re
import unicodedata

from kerasllm.text.markup import remove_html
from kerasllm.text.masking import mask_bank_cards, mask_emails, mask_identity_cards, mask_phones

# The inside of a character class: blocks that hold emoji (and other symbols, which do no harm).
EMOJI = (
    "\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)

_SURROGATE = re.compile("[\ud800-\udfff]")

# ASCII only: the Chinese text after an address is rarely part of it. Marks that end a sentence
# are not the last character of an address.
_URL = re.compile(
    r"(?:(?:https?|ftp)://|(?<![A-Za-z0-9@.])www\.)"
    r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*[A-Za-z0-9_~/#@$&*+=%-]",
    re.IGNORECASE | re.ASCII,
)
# Not after a letter or digit and not before a domain: there "@" belongs to an e-mail address.
_MENTION = re.compile(r"(?<![A-Za-z0-9._%+-])(?:[@＠](?![A-Za-z0-9-]+\.[A-Za-z]{2})[\w-]{2,30})+")

# A run that may be nothing but combining marks. None of them is a letter, digit or blank, but the
# half-width Japanese voicing marks, which are letters, become some.
_MARKS = re.compile(r"(?:[^\w\s!-~]|[\uff9e\uff9f]){100,}")
_MAX_MARKS = 30

# C0 and C1 except the blanks among them, soft hyphen, zero-width, bidirectional, BOM, tags,
# ideographic variation selectors.
_ALWAYS_INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u180e\u200b\u200c\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e01ef"
)
_INVISIBLE = re.compile(
    f"[{_ALWAYS_INVISIBLE}]"
    # zero-width joiners other than those between two emoji
    f"|(?<![{EMOJI}])(?<![{EMOJI}]\ufe0f)\u200d|\u200d(?![{EMOJI}])"
    # variation selectors other than those after an emoji or in a keycap
    f"|(?<![{EMOJI}])(?!(?<=[0-9#*])\ufe0f\u20e3)[\ufe00-\ufe0f]"
)
# A much faster search for whether the pattern above is needed at all.
_PERHAPS_INVISIBLE = re.compile(f"[{_ALWAYS_INVISIBLE}\u200d\ufe00-\ufe0f]")


class TextCleaner:
    """Cleans one text, by steps that are switched on and off.

    On by default is the hygiene that loses no meaning: markup, width and invisible characters.
    Off by default is whatever removes something a reader would have seen, because it depends on
    the task: the number of exclamation marks tells an angry review, a mention may be the label.

    The order is fixed, whatever is switched on:

    1. Halves of surrogate pairs are joined, lone ones become U+FFFD (always: neither TensorFlow
       nor a UTF-8 file can hold them).
    2. `html`, first, because links and control characters hide in attributes and entities; before
       `width`, because a full-width ＜ is never markup.
    3. `urls` and 4. `mentions`, before `width`, because a full-width comma or colon ends them.
    5. `width`, before all that looks for digits.
    6. `control`, after the steps that leave blanks behind, before the masks, which zero-width
       characters inside a number would blind.
    7. `mask_emails`, `mask_identity_cards`, `mask_bank_cards`, `mask_phones`, the longest first:
       an address may hold a telephone number, a card number may look like one.
    8. `repeats`, last, so that it sees half-width marks and no blank lies between them.

    Every step takes time linear in the length of the text.

    Examples:

    >>> clean = TextCleaner(urls=True, repeats=3, mask_phones=True)
    >>> clean("<p>太好吃了！！！！！！</p>电话１３８００１３８０００&nbsp; 见https://t.example/a?b=1，")
    '太好吃了!!! 电话[PHONE] 见,'

    Args:
        html: Remove tags, decode entities, see `remove_html`.
        urls: Remove web addresses, see `remove_urls`.
        mentions: Remove @name, see `remove_mentions`.
        width: Full-width to half-width and other NFKC mappings, see `normalize_width`.
        control: Drop invisible characters, tidy blanks, see `remove_control_characters`.
        mask_emails: Replace e-mail addresses by `[EMAIL]`, see `kerasllm.text.masking`.
        mask_identity_cards: Replace resident identity numbers by `[IDENTITY]`.
        mask_bank_cards: Replace bank card numbers by `[BANKCARD]`.
        mask_phones: Replace telephone numbers by `[PHONE]`.
        repeats: Longest run of one character that is kept, `0` or `None` for any, see
            `shorten_repeats`.

    Raises:
        ValueError: If a switch is not a bool, or `repeats` not a whole number from 0.
    """

    def __init__(
        self,
        *,
        html=True,
        urls=False,
        mentions=False,
        width=True,
        control=True,
        mask_emails=False,
        mask_identity_cards=False,
        mask_bank_cards=False,
        mask_phones=False,
        repeats=0,
    ):
        switches = {
            "html": html,
            "urls": urls,
            "mentions": mentions,
            "width": width,
            "control": control,
            "mask_emails": mask_emails,
            "mask_identity_cards": mask_identity_cards,
            "mask_bank_cards": mask_bank_cards,
            "mask_phones": mask_phones,
        }
        for name, value in switches.items():
            if not isinstance(value, bool):
                raise ValueError(f"{name}={value!r} of TextCleaner should be True or False.")
        if repeats is not None and (type(repeats) is not int or repeats < 0):
            raise ValueError(
                f"repeats={repeats!r} of TextCleaner should be the longest run that is kept,"
                " a whole number, or 0 to keep all."
            )
        self._config = {**switches, "repeats": repeats or 0}
        self._steps = [step for name, step in _STEPS if switches[name]]
        if repeats:
            self._steps.append(functools.partial(shorten_repeats, limit=repeats))

    def __call__(self, text: str) -> str:
        """Cleans a text.

        Args:
            text: Any str.

        Returns:
            The clean text, possibly empty.

        Raises:
            TypeError: If `text` is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(
                f"TextCleaner takes one text, a str, but got {type(text).__name__}: {text!r:.100}."
            )
        if _SURROGATE.search(text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for step in self._steps:
            text = step(text)
        return text

    def get_config(self):
        """The constructor's arguments, as a dict that JSON can hold."""
        return dict(self._config)

    @classmethod
    def from_config(cls, config):
        """The cleaner that `get_config` described."""
        return cls(**config)


def remove_urls(text):
    """Removes web addresses: http://, https://, ftp:// and www.

    An address ends at the first character that is not ASCII, a mark at its end stays.

    Examples:

    >>> remove_urls("详见https://news.example/a?b=1。www.example.com, 谢谢")
    '详见。, 谢谢'
    """
    return _URL.sub("", text) if "://" in text or "www." in text.lower() else text


def remove_mentions(text):
    """Removes @name as on Weibo: 2 to 30 letters, digits, Chinese characters, `_` and `-`.

    A name ends at a blank or mark, as it does there, so "@小明你好" is one name. E-mail addresses
    stay.

    Examples:

    >>> remove_mentions("回复@小明_01：好的 @Tom_Lee 写信到 a@b.example")
    '回复：好的  写信到 a@b.example'
    """
    return _MENTION.sub("", text) if "@" in text or "＠" in text else text


def normalize_width(text):
    """Applies Unicode's NFKC: full-width to half-width, and one form of every character.

    It also maps ㎡ to m2, ① to 1, … to ... and, the only loss, 10² to 102. Of 100 and more
    combining marks on one character 30 are kept, the bound of Unicode's stream-safe format: NFKC
    sorts marks in quadratic time.

    Examples:

    >>> normalize_width("Ａｐｐｌｅ　１２％，℃")
    'Apple 12%,°C'
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", _MARKS.sub(_limit_marks, text))


def _limit_marks(match):
    kept = []
    marks = 0
    for character in match[0]:
        first = unicodedata.normalize("NFKD", character)[0]
        marks = marks + 1 if unicodedata.combining(first) else 0
        if marks <= _MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def remove_control_characters(text):
    """Drops what cannot be seen; makes any run of blanks one blank, none at the ends.

    Dropped are control characters, zero-width and bidirectional ones, soft hyphens and BOMs;
    emoji keep their joiners and variation selectors. Newlines, tabs, no-break and ideographic
    blanks are blanks. (Scripts that need zero-width joiners, as those of India, need this off.)

    Examples:

    >>> remove_control_characters("　零\\u200b宽\\n\\xa0字\\ufeff符\\x00 ")
    '零宽 字符'
    """
    if _PERHAPS_INVISIBLE.search(text):
        text = _INVISIBLE.sub("", text)
    return " ".join(text.split())


def shorten_repeats(text, limit):
    """Shortens runs of one character to `limit` of them. Digits are left alone: 100000 is a number.

    Examples:

    >>> shorten_repeats("哈哈哈哈哈哈！！！！！100000元👍🏽👍🏽👍🏽👍🏽", limit=3)
    '哈哈哈！！！100000元👍🏽👍🏽👍🏽'
    """
    return _repeats(limit).sub(lambda match: match[1] * limit, text)


@functools.cache
def _repeats(limit):
    return re.compile(rf"([^\d\s][\ufe0f\U0001f3fb-\U0001f3ff]?)\1{{{limit},}}")


# In this order; the masks from the longest pattern to the shortest.
_STEPS = (
    ("html", remove_html),
    ("urls", remove_urls),
    ("mentions", remove_mentions),
    ("width", normalize_width),
    ("control", remove_control_characters),
    ("mask_emails", mask_emails),
    ("mask_identity_cards", mask_identity_cards),
    ("mask_bank_cards", mask_bank_cards),
    ("mask_phones", mask_phones),
)
