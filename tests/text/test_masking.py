"""The masks, against check digits computed in other ways."""

import datetime
import random

import pytest

from kerasllm.text import TextCleaner
from kerasllm.text.masking import (
    is_identity_number,
    mask_bank_cards,
    mask_emails,
    mask_identity_cards,
    mask_phones,
    passes_luhn,
)


def with_check_digit(body):
    """ISO 7064 MOD 11-2 in its recursive form, on the first 17 digits of an identity number."""
    product = 0
    for digit in body:
        product = (product + int(digit)) * 2 % 11
    return body + "0123456789X"[(12 - product) % 11]


def luhn_by_table(digits):
    total = 0
    for position, digit in enumerate(reversed(digits)):
        total += (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[int(digit)] if position % 2 else int(digit)
    return total % 10 == 0


def random_identity_number(source):
    birth = datetime.date(1930, 1, 1) + datetime.timedelta(days=source.randrange(33_000))
    return with_check_digit(
        f"{source.choice((11, 31, 44, 51, 65))}0105{birth:%Y%m%d}{source.randrange(1000):03}"
    )


# Phones


@pytest.mark.parametrize(
    "number",
    [
        "13800138000",
        "199 1234 5678",
        "138-0013-8000",
        "+8613800138000",
        "+86 138 0013 8000",
        "+86-13800138000",
        "008613800138000",
        "8613800138000",
        "(+86)13800138000",
        "010-62345678",
        "01062345678",
        "(010)62345678",
        "（0755） 8234 5678",
        "0571-8765432",
        "010-62345678-801",
        "010-62345678转801",
        "+86 10 6234 5678",
        "+86(010)62345678",
    ],
)
def test_telephone_numbers_are_masked_whole(number):
    assert mask_phones(number) == "[PHONE]"
    assert mask_phones(f"电话{number}，或{number}。") == "电话[PHONE]，或[PHONE]。"


@pytest.mark.parametrize(
    "text",
    [
        "单号138001380001",
        "单号013800138000138",
        "12800138000",
        "138001380",
        "0.13800138000",
        "13800138000.5",
        "62345678",
        "010-12345678",
        "2024-03-15",
        "客服10086或400-800-8888",
        "6222 1380 0138 0000",
        "1 380 013 8000",
    ],
)
def test_other_numbers_are_no_telephone_numbers(text):
    assert mask_phones(text) == text


# Identity cards


def test_identity_numbers_with_their_check_digit_are_masked():
    source = random.Random(0)
    for _ in range(300):
        number = random_identity_number(source)
        assert mask_identity_cards(f"证{number}，{number.lower()}") == "证[IDENTITY]，[IDENTITY]"


def test_any_other_check_digit_is_refused():
    number = random_identity_number(random.Random(1))
    wrong = [number[:17] + digit for digit in "0123456789X" if digit != number[17]]
    assert not any(map(is_identity_number, wrong))


@pytest.mark.parametrize(
    "body",
    ["11010519490231002", "11010519491331002", "99010519491231002", "11010522491231002"],
    ids=["30 February", "month 13", "no such province", "year 2249"],
)
def test_identity_numbers_with_an_impossible_part_are_refused(body):
    number = with_check_digit(body)
    assert mask_identity_cards(number) == number


def test_old_identity_numbers_are_masked_by_their_date():
    assert mask_identity_cards("证110105491231002。") == "证[IDENTITY]。"
    assert mask_identity_cards("证110105491331002。") == "证110105491331002。"


def test_longer_runs_of_digits_are_not_cut_into():
    number = "11010519491231002X"
    for text in (
        f"1{number}",
        "110105194912310021",
        f"{number}X",
        "1101054912310021",
        f"0.{number}",
    ):
        assert mask_identity_cards(text) == text


# Bank cards


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111",
        "5555555555554444",
        "3530111333300000",
        "6200000000000005",
        "6205500000000000004",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "6205 5000 0000 0000 004",
    ],
)
def test_the_schemes_test_numbers_are_masked(number):
    assert mask_bank_cards(f"卡{number}。") == "卡[BANKCARD]。"


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",
        "04111111111111111",
        "41111111111111110000",
        "1411111111111111",
        "0.4111111111111111",
        "4111 1111-1111 1111",
        "4111 1111 1111 1111 1111",
        "9999 4111 1111 1111 1111",
        "0000000000000000",
    ],
)
def test_other_long_numbers_are_no_bank_cards(text):
    assert mask_bank_cards(text) == text


def test_luhn_agrees_with_the_table_form():
    source = random.Random(2)
    for length in (16, 17, 18, 19):
        for _ in range(200):
            digits = "".join(source.choices("0123456789", k=length))
            assert passes_luhn(digits) == luhn_by_table(digits)


# E-mails


@pytest.mark.parametrize(
    "address", ["a@b.cn", "li.si+tag@mail.example.com", "13800138000@mail.example", "x_1%@a-b.info"]
)
def test_addresses_are_masked_whole(address):
    assert mask_emails(f"写信到{address}，谢谢") == "写信到[EMAIL]，谢谢"


@pytest.mark.parametrize("text", ["@小明", "a@b", "a@", "3@5.1", "价格@100.00元", "a@.com"])
def test_other_uses_of_the_at_sign_stay(text):
    assert mask_emails(text) == text


# Together


def test_the_longest_number_wins():
    cleaner = TextCleaner(
        mask_phones=True, mask_identity_cards=True, mask_bank_cards=True, mask_emails=True
    )
    text = "证11010519491231002X 卡6205500000000000004 电话13800138000 信13800138000@a.cn"
    assert cleaner(text) == "证[IDENTITY] 卡[BANKCARD] 电话[PHONE] 信[EMAIL]"
