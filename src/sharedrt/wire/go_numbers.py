"""Whole numbers in text, as Go's ``strconv.Atoi`` reads them: ASCII digits with or without a sign, in 64 bits.

Python's ``int`` takes blanks, underscores and the digits of all scripts, knows no bound, and refuses over 4300 digits
with a ValueError of its own.
"""

from typing import Final

MAX_INT64: Final = (1 << 63) - 1
_MAX_DIGITS: Final = 19


class NumberError(ValueError):
    """In Go's words: ``invalid syntax`` or ``value out of range``."""


def parse_int(text: str) -> int:
    """Raises NumberError."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise NumberError("invalid syntax")
    digits = digits.lstrip("0") or "0"
    number = int(digits) if len(digits) <= _MAX_DIGITS else MAX_INT64 + 2
    if text.startswith("-"):
        number = -number
    if not -MAX_INT64 - 1 <= number <= MAX_INT64:
        raise NumberError("value out of range")
    return number


def parse_digits(text: str, most: int) -> int | None:
    """A number without a sign, from 0 to ``most``; ``None`` for all else."""
    if not (text.isascii() and text.isdigit()):
        return None
    try:
        number = parse_int(text)
    except NumberError:
        return None
    return number if number <= most else None
