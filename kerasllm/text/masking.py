"""Personal data in texts replaced by placeholder words.

Rules, not models: they find what is written in the usual ways, in half-width digits (the width
step of `TextCleaner` comes first), and check what can be checked, so that order numbers and
amounts are rarely taken for something else. They are no guarantee of anonymity.
"""

import datetime
import re

# Not inside a longer run of digits and not the decimals of a number.
_START = r"(?<![0-9])(?<![0-9]\.)"
_END = r"(?![0-9])(?!\.[0-9])"

# The look-behind lets a run of characters be tried from its beginning only: linear time.
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![A-Za-z0-9-])"
)

_IDENTITY_CARD = re.compile(_START + r"[1-9][0-9]{14}(?:[0-9]{2}[0-9Xx])?(?![0-9Xx])(?!\.[0-9])")
# First two digits: GB/T 2260, the provinces.
_PROVINCES = frozenset(
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65"
    " 71 81 82 83 91".split()
)
# GB 11643: the weights are 2**(17 - position) modulo 11.
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_DIGITS = "10X98765432"

# In one run, or in groups of four with the same separator throughout. Cards begin with 3-6 or 9.
_BANK_CARD = re.compile(
    _START + r"(?:[3-69][0-9]{15,18}"
    r"|(?<![0-9][ -])[3-69][0-9]{3}(?P<gap>[ -])(?:[0-9]{4}(?P=gap)){2}[0-9]{4}"
    r"(?:(?P=gap)[0-9]{1,3}(?![0-9]))?(?!(?P=gap)[0-9])" + r")" + _END
)

_COUNTRY = r"(?:\+|00)?86"
_MOBILE = r"(?:\(?" + _COUNTRY + r"\)?[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}){2}"
_AREA = r"(?:10|2[0-9]|[3-9][0-9]{2})"
_LANDLINE = (
    rf"(?:(?:\+|00)86[ -]?(?:\(0?{_AREA}\)|{_AREA})|[(（]0{_AREA}[)）]|0{_AREA})"
    r"[ -]?[2-8][0-9]{2,3}[ -]?[0-9]{4}(?:(?:-| ?转 ?)[0-9]{1,6}(?![0-9]))?"
)
_PHONE = re.compile(f"{_START}(?:{_MOBILE}|{_LANDLINE}){_END}")


def mask_emails(text):
    """Replaces e-mail addresses by `[EMAIL]`.

    Examples:

    >>> mask_emails("请发到 li.si+1@mail.example.cn，谢谢")
    '请发到 [EMAIL]，谢谢'
    """
    return _EMAIL.sub("[EMAIL]", text) if "@" in text else text


def mask_identity_cards(text):
    """Replaces resident identity numbers by `[IDENTITY]`.

    18 digits need a province, a date of birth that exists and the right check digit; the 15
    digits of the cards issued before 1999 have no check digit, so province and date decide.

    Examples:

    >>> mask_identity_cards("身份证11010519491231002X，订单110105194912310021")
    '身份证[IDENTITY]，订单110105194912310021'
    """
    return _IDENTITY_CARD.sub(
        lambda match: "[IDENTITY]" if is_identity_number(match[0]) else match[0], text
    )


def mask_bank_cards(text):
    """Replaces bank card numbers (16 to 19 digits that pass the Luhn check) by `[BANKCARD]`.

    The digits may stand in groups of four with blanks or dashes between them.

    Examples:

    >>> mask_bank_cards("卡号4111 1111 1111 1111，流水号4111111111111112")
    '卡号[BANKCARD]，流水号4111111111111112'
    """
    return _BANK_CARD.sub(
        lambda match: "[BANKCARD]" if passes_luhn(re.sub("[ -]", "", match[0])) else match[0], text
    )


def mask_phones(text):
    """Replaces Chinese telephone numbers by `[PHONE]`.

    Mobile numbers with or without +86 and with blanks or dashes in the usual places, landlines
    with their area code and an extension. Public service numbers (10086, 400-...) stay.

    Examples:

    >>> mask_phones("电话+86 138-0013-8000或(010)62345678转801，单号138001380001234")
    '电话[PHONE]或[PHONE]，单号138001380001234'
    """
    return _PHONE.sub("[PHONE]", text)


def is_identity_number(number):
    """Whether a str of 15 or 18 characters is a well-formed resident identity number."""
    if number[:2] not in _PROVINCES:
        return False
    birth = number[6:14] if len(number) == 18 else "19" + number[6:12]
    if not "1850" <= birth[:4] < "2100":
        return False
    try:
        datetime.date(int(birth[:4]), int(birth[4:6]), int(birth[6:]))
    except ValueError:
        return False
    if len(number) == 15:
        return True
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number[:17], strict=True))
    return _CHECK_DIGITS[total % 11] == number[17].upper()


def passes_luhn(digits):
    """Whether a str of digits passes the Luhn check (ISO/IEC 7812-1)."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0
