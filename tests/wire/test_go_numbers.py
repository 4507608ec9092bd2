"""Numbers in text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.go_numbers import MAX_INT64, NumberError, parse_digits, parse_int


@given(st.integers(-MAX_INT64 - 1, MAX_INT64))
def test_what_64_bits_hold(number: int) -> None:
    assert parse_int(str(number)) == number
    assert parse_digits(str(number), MAX_INT64) == (number if number >= 0 else None)


@pytest.mark.parametrize(("text", "number"), [("+5", 5), ("-0", 0), ("0" * 5000 + "7", 7)])
def test_forms(text: str, number: int) -> None:
    assert parse_int(text) == number


@pytest.mark.parametrize("text", ["", "-", "+-5", " 5", "5 ", "1_0", "0x1", "1e3", "5.0", "\u0663"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(NumberError, match="invalid syntax"):
        parse_int(text)
    assert parse_digits(text, MAX_INT64) is None


@pytest.mark.parametrize("text", [str(1 << 63), str(-(1 << 63) - 1), "9" * 5000, "-" + "9" * 5000])
def test_out_of_range(text: str) -> None:
    with pytest.raises(NumberError, match="value out of range"):
        parse_int(text)
    assert parse_digits(text, MAX_INT64) is None


def test_the_most() -> None:
    assert parse_digits("65535", 65535) == 65535
    assert parse_digits("65536", 65535) is None
    assert parse_digits("+1", 65535) is None
