"""Patterns of substitutions, against regular expressions, and that none takes for ever."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.dockerfile.errors import DockerfileError
from sharedrt.wire.dockerfile.globs import replaced, without_prefix, without_suffix

VALUE = st.text(alphabet="ab*?", max_size=10)
PATTERN = st.text(alphabet="ab*?", max_size=6)


def expression(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(c, re.escape(c)) for c in pattern), re.DOTALL)


@given(VALUE, PATTERN, st.booleans())
def test_prefixes_and_suffixes(value: str, pattern: str, longest: bool) -> None:
    whole = expression(pattern)
    cuts = range(len(value), -1, -1) if longest else range(len(value) + 1)
    prefix = next((n for n in cuts if whole.fullmatch(value[:n])), 0)
    assert without_prefix(value, pattern, longest=longest) == value[prefix:]
    suffix = next((n for n in cuts if whole.fullmatch(value[len(value) - n :])), 0)
    assert without_suffix(value, pattern, longest=longest) == value[: len(value) - suffix]


@given(VALUE, PATTERN.filter(lambda p: p.strip("*")), st.booleans())
def test_replacements(value: str, pattern: str, everywhere: bool) -> None:
    expected = expression(pattern).sub("X", value, count=0 if everywhere else 1)
    assert replaced(value, pattern, "X", everywhere=everywhere) == expected


def test_a_backslash_makes_plain() -> None:
    assert replaced("a*b?", "\\*", "-", everywhere=True) == "a-b?"
    assert without_suffix("a?", "\\?", longest=False) == "a"
    assert without_prefix("\\a", "\\\\", longest=False) == "a"


def test_hostile_ones_end_soon() -> None:
    value = "a" * 200_000
    started = time.monotonic()
    assert without_prefix(value, "*a" * 40 + "b", longest=True) == value
    assert without_suffix(value, "b" + "a*" * 40, longest=False) == value
    assert replaced("a" * 8000, "*a*a*a*a*b", "", everywhere=True) == "a" * 8000
    assert time.monotonic() - started < 10
    with pytest.raises(DockerfileError):
        replaced(value, "a", "", everywhere=True)
